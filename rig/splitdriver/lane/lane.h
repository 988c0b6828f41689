/* What the two lanes share: octets that come and go, frames, and the wait for both.
 *
 * See the package's docstring (__init__.py) for what a lane is, and docs/protocol.md for the frames.
 */
#ifndef RIG_LANE_H
#define RIG_LANE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
    LANE_INTERFACE = 1, /* as rig.splitdriver.lane.compiled.INTERFACE */
    FRAME_HEADER = 8,
    SUBMIT_BODY = 20,
    COMPLETE_BODY = 17,
    FRAME_SUBMIT = 8,
    FRAME_COMPLETE = 10,
    MAX_TRANSFER = 4 << 20, /* as rig.usb.urb.MAX_TRANSFER_BYTES */
    MAX_FRAME = MAX_TRANSFER + 64,
    MAX_PORTS = 256,
    DIRECTION_IN = 0x80,
    CARRIED_FLAGS = 0x41, /* SHORT_NOT_OK, ZERO_PACKET */
};

/* What became of one record that came. */
enum verdict {
    GO_ON,       /* forwarded: look at the next */
    STOP_BEHIND, /* forwarded, but something of it waits for room: Python goes on behind it */
    STOP_BEFORE, /* not for a lane: Python gets it, and all that follows */
};

/* Octets between two places of a buffer that grows. */
struct octets {
    unsigned char *at;
    size_t begin, end, room;
};

static inline size_t octets_held(const struct octets *o) { return o->end - o->begin; }
static inline unsigned char *octets_first(const struct octets *o) { return o->at + o->begin; }

/* Read what a descriptor has. */
enum came { CAME, NOTHING, ENDED /* or it failed, or there is no memory */ };
enum came octets_read(struct octets *o, int fd);
/* Make room for `count` octets in one piece, from the first that is held. */
bool octets_reserve(struct octets *o, size_t count);
bool octets_append(struct octets *o, const void *from, size_t count);
PyObject *octets_steal(struct octets *o);

/* Send all parts, or keep what the descriptor does not take now; false: something was kept. */
bool send_parts(int fd, struct iovec *parts, int count, struct octets *unsent);

/* One end of the link: a stream of frames.
 *
 * It is a socket or a port of virtio-serial.  Such a port takes at most 32 KiB at a time, each write
 * goes to the other machine by itself, and a read returns one page (drivers/char/virtio_console.c).
 * There each frame ends with its sender's seal.
 */
struct link {
    int fd;
    const char *seal, *peers_seal; /* stand behind each frame; may be empty */
    Py_ssize_t seal_bytes, peers_seal_bytes;
    bool is_port, heard;
    struct octets in, out, unsent;
};

void link_begin(struct link *link);
/* Send a frame; false: some of it waits for room. */
bool link_send(struct link *link, struct iovec head, struct iovec data);

/* Read from the link and give each whole frame to `forward`; false: it is Python's turn. */
typedef enum verdict (*forward_frame)(void *lane, uint32_t kind, const unsigned char *body,
                                      size_t length);
bool link_came(struct link *link, forward_frame forward, void *lane);

/* Wait, and call `came` for each descriptor with its events, until that returns false, a descriptor
 * is not the lane's, or the time is up.  Returns the events that are left, as a list of pairs for
 * the reactor; NULL with an exception. */
enum whose { OURS, OURS_AND_STOP, NOT_OURS };
typedef enum whose (*descriptor_came)(void *lane, int fd, uint32_t events);
PyObject *wait_and_forward(int epoll_fd, double timeout_s, descriptor_came came, void *lane);

static inline uint32_t get32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void put32(unsigned char *p, uint32_t value)
{
    p[0] = (unsigned char)(value >> 24);
    p[1] = (unsigned char)(value >> 16);
    p[2] = (unsigned char)(value >> 8);
    p[3] = (unsigned char)value;
}

/* The 32 endpoints of a device, IN behind OUT. */
static inline unsigned endpoint_index(unsigned address)
{
    return (address & 0x0f) | (address & DIRECTION_IN ? 0x10 : 0);
}

PyObject *lane_front(PyObject *module, PyObject *args);
PyObject *lane_back(PyObject *module, PyObject *args);

#endif

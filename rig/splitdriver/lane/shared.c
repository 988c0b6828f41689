/* Octets, the link, and the wait. */
#include "lane.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { CHUNK = 256 << 10, MAX_EVENTS = 8 };

bool octets_reserve(struct octets *o, size_t count)
{
    if (o->room - o->begin >= count)
        return true;
    size_t held = octets_held(o);
    if (o->room >= count) {
        memmove(o->at, octets_first(o), held);
    } else {
        unsigned char *fresh = malloc(count);
        if (!fresh)
            return false;
        if (held)
            memcpy(fresh, octets_first(o), held);
        free(o->at);
        o->at = fresh;
        o->room = count;
    }
    o->begin = 0;
    o->end = held;
    return true;
}

enum came octets_read(struct octets *o, int fd)
{
    if (o->begin == o->end)
        o->begin = o->end = 0;
    if (o->end == o->room && !octets_reserve(o, octets_held(o) + CHUNK))
        return ENDED;
    ssize_t count = read(fd, o->at + o->end, o->room - o->end);
    if (count > 0) {
        o->end += (size_t)count;
        return CAME;
    }
    return count < 0 && (errno == EAGAIN || errno == EINTR) ? NOTHING : ENDED;
}

bool octets_append(struct octets *o, const void *from, size_t count)
{
    if (!count)
        return true; /* memcpy wants an address even for nothing */
    if (!octets_reserve(o, octets_held(o) + count))
        return false;
    memcpy(o->at + o->end, from, count);
    o->end += count;
    return true;
}

PyObject *octets_steal(struct octets *o)
{
    PyObject *stolen = PyBytes_FromStringAndSize((const char *)octets_first(o),
                                                 (Py_ssize_t)octets_held(o));
    free(o->at);
    *o = (struct octets){0};
    return stolen;
}

bool send_parts(int fd, struct iovec *parts, int count, struct octets *unsent)
{
    ssize_t sent = writev(fd, parts, count);
    /* What else can fail, Python meets again when it sends the rest. */
    size_t taken = sent > 0 ? (size_t)sent : 0;
    bool all = true;
    for (int i = 0; i < count; i++) {
        size_t skip = taken < parts[i].iov_len ? taken : parts[i].iov_len;
        taken -= skip;
        if (skip < parts[i].iov_len) {
            all = false;
            if (!octets_append(unsent, (char *)parts[i].iov_base + skip, parts[i].iov_len - skip))
                abort(); /* half a frame cannot be taken back */
        }
    }
    return all;
}

void link_begin(struct link *link)
{
    struct stat what;
    link->is_port = fstat(link->fd, &what) == 0 && S_ISCHR(what.st_mode);
}

/* To a port: in one piece, or as few as it takes. */
static bool port_send(struct link *link, const struct iovec *parts, int count)
{
    link->out.begin = link->out.end = 0;
    for (int i = 0; i < count; i++)
        if (!octets_append(&link->out, parts[i].iov_base, parts[i].iov_len))
            abort(); /* as in send_parts */
    for (ssize_t sent = 1; octets_held(&link->out) && sent > 0;) {
        sent = write(link->fd, octets_first(&link->out), octets_held(&link->out));
        if (sent > 0)
            link->out.begin += (size_t)sent;
    }
    struct iovec rest = {octets_first(&link->out), octets_held(&link->out)};
    return !rest.iov_len || send_parts(link->fd, &rest, 1, &link->unsent);
}

bool link_send(struct link *link, struct iovec head, struct iovec data)
{
    struct iovec parts[] = {
        head,
        data,
        {(void *)(uintptr_t)link->seal, (size_t)link->seal_bytes},
    };
    return link->is_port ? port_send(link, parts, 3)
                         : send_parts(link->fd, parts, 3, &link->unsent);
}

/* Give each whole frame that is here to `forward`; false: it is Python's turn. */
static bool forward_frames(struct link *link, forward_frame forward, void *lane)
{
    while (octets_held(&link->in) >= FRAME_HEADER) {
        const unsigned char *frame = octets_first(&link->in);
        size_t length = get32(frame);
        if (length > MAX_FRAME)
            return false;
        size_t whole = FRAME_HEADER + length + (size_t)link->peers_seal_bytes;
        if (octets_held(&link->in) < whole)
            return octets_reserve(&link->in, whole);
        if (memcmp(frame + FRAME_HEADER + length, link->peers_seal,
                   (size_t)link->peers_seal_bytes) != 0)
            return false;
        enum verdict verdict = forward(lane, get32(frame + 4), frame + FRAME_HEADER, length);
        if (verdict == STOP_BEFORE)
            return false;
        link->heard = true;
        link->in.begin += whole;
        if (verdict == STOP_BEHIND)
            return false;
    }
    return true;
}

bool link_came(struct link *link, forward_frame forward, void *lane)
{
    for (;;) {
        enum came came = octets_read(&link->in, link->fd);
        if (came != CAME)
            return came == NOTHING;
        if (!forward_frames(link, forward, lane))
            return false;
        /* The rest of a frame is mostly here, page by page. */
        if (!link->is_port || !octets_held(&link->in))
            return true;
    }
}

/* Return a descriptor that becomes readable after so long, watched like the others; or -1.
 *
 * Not epoll_wait's own timeout: the kernel would arm and disarm a timer at each wait. */
static int watched_timer(int epoll_fd, double timeout_s)
{
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct itimerspec when = {
        .it_value = {(time_t)timeout_s, (long)((timeout_s - (double)(time_t)timeout_s) * 1e9) + 1},
    };
    struct epoll_event event = {.events = EPOLLIN, .data.fd = timer};
    if (timer >= 0 && timerfd_settime(timer, 0, &when, NULL) == 0 &&
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer, &event) == 0)
        return timer;
    if (timer >= 0)
        close(timer);
    return -1;
}

/* Return the events from the first on, as Python's epoll would; but the timer's, which is closed. */
static PyObject *left_over(const struct epoll_event *events, int first, int count, int timer)
{
    PyObject *list = PyList_New(0);
    for (int i = first; list && i < count; i++) {
        if (events[i].data.fd == timer)
            continue;
        PyObject *pair = Py_BuildValue("(iI)", events[i].data.fd, events[i].events);
        if (!pair || PyList_Append(list, pair) < 0)
            Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    return list;
}

/* As wait_and_forward, until the timer's time or, without a timer, so long without an event; -1 for
 * ever. */
static PyObject *forward_until(int epoll_fd, int timer, int timeout_ms, descriptor_came came,
                               void *lane)
{
    struct epoll_event events[MAX_EVENTS];

    for (;;) {
        int count;
        Py_BEGIN_ALLOW_THREADS
        count = epoll_wait(epoll_fd, events, MAX_EVENTS, timeout_ms);
        Py_END_ALLOW_THREADS
        if (count <= 0) /* a signal came, or it is time */
            return PyList_New(0);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == timer)
                return left_over(events, i + 1, count, timer);
            switch (came(lane, events[i].data.fd, events[i].events)) {
            case NOT_OURS:
                return left_over(events, i, count, timer);
            case OURS_AND_STOP:
                return left_over(events, i + 1, count, timer);
            case OURS:
                break;
            }
        }
        if (timeout_ms >= 0)
            return PyList_New(0); /* Python knows how much of the time is left */
    }
}

PyObject *wait_and_forward(int epoll_fd, double timeout_s, descriptor_came came, void *lane)
{
    int timer = timeout_s < 0 ? -1 : watched_timer(epoll_fd, timeout_s);
    /* Without a descriptor for a timer Python must not spin: it still has others to look after. */
    int timeout_ms = timeout_s < 0 || timer >= 0 ? -1 : timeout_s < 1 ? (int)(timeout_s * 1e3) + 1
                                                                     : 1000;
    PyObject *left = forward_until(epoll_fd, timer, timeout_ms, came, lane);
    if (timer >= 0)
        close(timer);
    return left;
}

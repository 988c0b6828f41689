/* The back end's lane: SUBMIT to usbfs, what has succeeded there to COMPLETE.
 *
 * An endpoint has one URB in the controller at a time, as with a window of 1; what comes meanwhile
 * waits here in order.
 */
#include "lane.h"

#include <errno.h>
#include <linux/usbdevice_fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

enum { ENDPOINTS = 32 };

struct urb {
    struct urb *next;
    uint32_t id, buffer_bytes;
    uint16_t flags;
    unsigned char address;
    bool running;
    PyObject *memory; /* a bytearray that holds `kernel` */
    struct usbdevfs_urb *kernel;
    PyObject *room; /* a bytearray for IN data, or NULL */
    PyObject *data; /* bytes, OUT data for as long as it waits; or NULL */
};

struct endpoint {
    bool lent;
    unsigned char type;
    uint32_t epoch;
    struct urb *first, *last; /* only the first can be running */
};

struct back_port {
    uint32_t device;
    int fd;
    int64_t latest; /* number of an URB */
    uint32_t queued_urbs, running;
    uint64_t queued_bytes;
    struct endpoint endpoints[ENDPOINTS];
    PyObject *reaped; /* addresses of what Python must look at, in order */
};

struct back {
    struct link link;
    uint64_t max_bytes;
    uint32_t max_urbs;
    PyObject *kernel_call; /* instead of ioctl(2), in tests; or None */
    struct urb *spare;
    struct back_port *ports;
    Py_ssize_t count;
};

static int call_kernel(struct back *back, int fd, unsigned long request, void *argument)
{
    if (back->kernel_call == Py_None)
        return ioctl(fd, request, argument);
    PyObject *result = PyObject_CallFunction(back->kernel_call, "ikK", fd, request,
                                             (unsigned long long)(uintptr_t)argument);
    long number = result ? PyLong_AsLong(result) : -EIO;
    Py_XDECREF(result);
    PyErr_Clear();
    errno = number < 0 ? (int)-number : 0;
    return number < 0 ? -1 : (int)number;
}

static void drop_urb(struct urb *urb)
{
    Py_XDECREF(urb->memory);
    Py_XDECREF(urb->room);
    Py_XDECREF(urb->data);
    free(urb);
}

/* Return an URB with memory for the kernel, and for IN data; NULL if there is no memory. */
static struct urb *take_urb(struct back *back)
{
    struct urb *urb = back->spare;
    if (urb) {
        back->spare = urb->next;
    } else {
        urb = calloc(1, sizeof *urb);
        if (!urb)
            return NULL;
        urb->memory = PyByteArray_FromStringAndSize(NULL, sizeof(struct usbdevfs_urb));
        if (!urb->memory) {
            PyErr_Clear();
            free(urb);
            return NULL;
        }
        urb->kernel = (struct usbdevfs_urb *)PyByteArray_AsString(urb->memory);
    }
    urb->next = NULL;
    urb->running = false;
    return urb;
}

static void spare_urb(struct back *back, struct urb *urb)
{
    Py_CLEAR(urb->data);
    urb->next = back->spare;
    back->spare = urb;
}

/* See that there is a bytearray for IN data; one that is kept from before is not cleared, for only
 * what the kernel has written is sent. */
static bool make_room(struct urb *urb)
{
    if (urb->room && (size_t)PyByteArray_Size(urb->room) >= urb->buffer_bytes)
        return true;
    Py_XDECREF(urb->room);
    urb->room = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)urb->buffer_bytes);
    if (!urb->room)
        PyErr_Clear();
    return urb->room != NULL;
}

/* Give an URB to the controller; its OUT data are needed no longer than that takes. */
static bool start(struct back *back, struct back_port *port, struct urb *urb, const void *data)
{
    bool is_in = urb->address & DIRECTION_IN;
    if (is_in && !make_room(urb))
        return false;
    *urb->kernel = (struct usbdevfs_urb){
        .type = port->endpoints[endpoint_index(urb->address)].type,
        .endpoint = urb->address,
        .flags = urb->flags,
        .buffer = is_in ? PyByteArray_AsString(urb->room) : (void *)(uintptr_t)data,
        .buffer_length = (int)urb->buffer_bytes,
        .usercontext = urb,
    };
    if (call_kernel(back, port->fd, USBDEVFS_SUBMITURB, urb->kernel) < 0)
        return false;
    urb->running = true;
    port->running++;
    return true;
}

static void queue(struct back_port *port, struct urb *urb)
{
    struct endpoint *endpoint = &port->endpoints[endpoint_index(urb->address)];
    if (endpoint->last)
        endpoint->last->next = urb;
    else
        endpoint->first = urb;
    endpoint->last = urb;
    port->queued_urbs++;
    port->queued_bytes += urb->buffer_bytes;
}

static struct back_port *port_of_device(struct back *back, uint32_t device)
{
    for (Py_ssize_t i = 0; i < back->count; i++)
        if (back->ports[i].device == device)
            return &back->ports[i];
    return NULL;
}

/* Run a SUBMIT, or let it wait for its endpoint; what is not to be run so is Python's. */
static enum verdict forward_submit(void *lane, uint32_t kind, const unsigned char *body,
                                   size_t length)
{
    struct back *back = lane;
    struct back_port *port = port_of_device(back, kind & 0xffffff);
    if (kind >> 24 != FRAME_SUBMIT || !port || length < SUBMIT_BODY)
        return STOP_BEFORE;
    uint32_t id = get32(body), buffer_bytes = get32(body + 8);
    unsigned char address = body[4];
    struct endpoint *endpoint = &port->endpoints[endpoint_index(address)];
    const unsigned char *data = body + SUBMIT_BODY;
    size_t data_bytes = address & DIRECTION_IN ? 0 : buffer_bytes;
    if (address & 0x70 || !endpoint->lent || body[5] != 0 || buffer_bytes > MAX_TRANSFER ||
        length != SUBMIT_BODY + data_bytes || id <= port->latest ||
        port->queued_urbs >= back->max_urbs ||
        port->queued_bytes + buffer_bytes > back->max_bytes)
        return STOP_BEFORE;

    struct urb *urb = take_urb(back);
    if (!urb)
        return STOP_BEFORE;
    urb->id = id;
    urb->address = address;
    urb->flags = body[7] & CARRIED_FLAGS;
    urb->buffer_bytes = buffer_bytes;
    bool ready;
    if (!endpoint->first) {
        ready = start(back, port, urb, data);
    } else if (data_bytes) {
        urb->data = PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)data_bytes);
        ready = urb->data != NULL;
        PyErr_Clear();
    } else {
        ready = true;
    }
    if (!ready) {
        drop_urb(urb);
        return STOP_BEFORE;
    }
    port->latest = id;
    queue(port, urb);
    return GO_ON;
}

/* Tell that the first URB of an endpoint has succeeded, and start the next; false: Python's turn. */
static bool forward_end(struct back *back, struct back_port *port, struct urb *urb)
{
    struct endpoint *endpoint = &port->endpoints[endpoint_index(urb->address)];
    unsigned char frame[FRAME_HEADER + COMPLETE_BODY];
    uint32_t actual = (uint32_t)urb->kernel->actual_length;
    size_t data_bytes = urb->address & DIRECTION_IN ? actual : 0;

    put32(frame, (uint32_t)(COMPLETE_BODY + data_bytes));
    put32(frame + 4, (uint32_t)FRAME_COMPLETE << 24 | port->device);
    put32(frame + 8, urb->id);
    put32(frame + 12, 0);
    put32(frame + 16, actual);
    put32(frame + 20, endpoint->epoch);
    frame[24] = 0;
    struct iovec head = {frame, sizeof frame};
    struct iovec payload = {data_bytes ? PyByteArray_AsString(urb->room) : NULL, data_bytes};
    endpoint->first = urb->next;
    if (!endpoint->first)
        endpoint->last = NULL;
    port->queued_urbs--;
    port->queued_bytes -= urb->buffer_bytes;
    bool sent = link_send(&back->link, head, payload);
    spare_urb(back, urb);

    struct urb *next = endpoint->first;
    if (!next || !sent)
        return sent;
    return start(back, port, next, next->data ? PyBytes_AsString(next->data) : NULL);
}

/* Take what has ended; false: Python must look at it. */
static bool usbfs_came(struct back *back, struct back_port *port)
{
    if (!port->running)
        return false;
    while (port->running) {
        struct usbdevfs_urb *ended;
        if (call_kernel(back, port->fd, USBDEVFS_REAPURBNDELAY, &ended) < 0)
            return errno == EAGAIN;
        struct urb *urb = ended->usercontext;
        if (urb)
            port->running--;
        if (!urb || ended->status != 0) {
            PyObject *address = PyLong_FromVoidPtr(ended);
            if (!address || PyList_Append(port->reaped, address) < 0)
                abort(); /* the kernel tells it once */
            Py_DECREF(address);
            return false;
        }
        if (!forward_end(back, port, urb))
            return false;
    }
    return true;
}

static enum whose back_came(void *lane, int fd, uint32_t events)
{
    struct back *back = lane;
    if (fd == back->link.fd)
        return events != EPOLLIN                              ? NOT_OURS
               : link_came(&back->link, forward_submit, back) ? OURS
                                                              : OURS_AND_STOP;
    for (Py_ssize_t i = 0; i < back->count; i++)
        if (fd == back->ports[i].fd)
            return events != EPOLLOUT                      ? NOT_OURS
                   : usbfs_came(back, &back->ports[i]) ? OURS
                                                           : OURS_AND_STOP;
    return NOT_OURS;
}

static bool lend_urb(struct back *back, struct back_port *port, PyObject *told)
{
    struct urb *urb = take_urb(back);
    if (!urb) {
        PyErr_NoMemory();
        return false;
    }
    unsigned address, flags;
    PyObject *memory, *buffer;
    if (!PyArg_ParseTuple(told, "IIIIOO", &urb->id, &address, &flags, &urb->buffer_bytes, &memory,
                          &buffer)) {
        drop_urb(urb);
        return false;
    }
    urb->address = (unsigned char)address;
    urb->flags = (uint16_t)flags;
    if (memory != Py_None) {
        Py_DECREF(urb->memory);
        urb->memory = Py_NewRef(memory);
        urb->kernel = (struct usbdevfs_urb *)PyByteArray_AsString(memory);
        urb->kernel->usercontext = urb;
        urb->running = true;
        port->running++;
    }
    if (PyByteArray_Check(buffer)) {
        Py_XDECREF(urb->room);
        urb->room = Py_NewRef(buffer);
    } else if (PyBytes_Check(buffer)) {
        urb->data = Py_NewRef(buffer);
    }
    if (urb->id > port->latest)
        port->latest = urb->id;
    queue(port, urb);
    return true;
}

static bool lend_port(struct back *back, struct back_port *port, PyObject *told)
{
    PyObject *endpoints, *urbs;
    if (!PyArg_ParseTuple(told, "IiOO", &port->device, &port->fd, &endpoints, &urbs))
        return false;
    port->latest = -1;
    port->reaped = PyList_New(0);
    if (!port->reaped)
        return false;
    for (Py_ssize_t i = 0; i < PyList_Size(endpoints); i++) {
        unsigned address, type, epoch;
        long long latest;
        if (!PyArg_ParseTuple(PyList_GetItem(endpoints, i), "IIIL", &address, &type, &epoch,
                              &latest))
            return false;
        struct endpoint *endpoint = &port->endpoints[endpoint_index(address)];
        endpoint->lent = true;
        endpoint->type = (unsigned char)type;
        endpoint->epoch = epoch;
        if (latest > port->latest)
            port->latest = latest;
    }
    for (Py_ssize_t i = 0; i < PyList_Size(urbs); i++)
        if (!lend_urb(back, port, PyList_GetItem(urbs, i)))
            return false;
    return true;
}

static PyObject *urb_back(struct urb *urb)
{
    if (urb->running)
        urb->kernel->usercontext = NULL; /* a later lane must not take it for its own */
    PyObject *buffer = urb->address & DIRECTION_IN ? urb->room : urb->data;
    return Py_BuildValue("(IIIIOO)", urb->id, (unsigned)urb->address, (unsigned)urb->flags,
                         urb->buffer_bytes, urb->running ? urb->memory : Py_None,
                         buffer ? buffer : Py_None);
}

static PyObject *port_back(struct back_port *port)
{
    PyObject *urbs = PyList_New(0);
    for (unsigned i = 0; i < ENDPOINTS; i++) {
        while (port->endpoints[i].first) {
            struct urb *urb = port->endpoints[i].first;
            port->endpoints[i].first = urb->next;
            PyObject *told = urb_back(urb);
            if (!urbs || !told || PyList_Append(urbs, told) < 0)
                Py_CLEAR(urbs);
            Py_XDECREF(told);
            drop_urb(urb);
        }
    }
    return Py_BuildValue("(LNN)", (long long)port->latest, urbs, port->reaped);
}

PyObject *lane_back(PyObject *Py_UNUSED(module), PyObject *args)
{
    int epoll_fd;
    double timeout_s;
    unsigned long long max_bytes;
    PyObject *told;
    struct back back = {0};
    struct link *link = &back.link;
    if (!PyArg_ParseTuple(args, "id(iy#y#)KIO!O", &epoll_fd, &timeout_s, &link->fd, &link->seal,
                          &link->seal_bytes, &link->peers_seal, &link->peers_seal_bytes, &max_bytes,
                          &back.max_urbs, &PyList_Type, &told, &back.kernel_call))
        return NULL;
    link_begin(link);
    back.max_bytes = max_bytes;
    back.count = PyList_Size(told);
    back.ports = calloc((size_t)back.count + 1, sizeof *back.ports);
    if (!back.ports)
        return PyErr_NoMemory();
    bool lent = true;
    for (Py_ssize_t i = 0; lent && i < back.count; i++)
        lent = lend_port(&back, &back.ports[i], PyList_GetItem(told, i));
    PyObject *events = lent ? wait_and_forward(epoll_fd, timeout_s, back_came, &back) : NULL;

    PyObject *ports = PyList_New(0);
    for (Py_ssize_t i = 0; i < back.count; i++) {
        PyObject *returned = port_back(&back.ports[i]);
        if (!returned || !ports || PyList_Append(ports, returned) < 0)
            Py_CLEAR(ports);
        Py_XDECREF(returned);
    }
    free(back.ports);
    while (back.spare) {
        struct urb *urb = back.spare;
        back.spare = urb->next;
        drop_urb(urb);
    }
    free(back.link.out.at);
    PyObject *came = octets_steal(&back.link.in), *unsent = octets_steal(&back.link.unsent);
    if (!events) {
        Py_XDECREF(ports);
        Py_XDECREF(came);
        Py_XDECREF(unsent);
        return NULL;
    }
    return Py_BuildValue("(NONNN)", events, back.link.heard ? Py_True : Py_False, came, unsent,
                         ports);
}

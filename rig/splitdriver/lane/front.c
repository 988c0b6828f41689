/* The front end's lane: CMD_SUBMIT of vhci_hcd to SUBMIT, COMPLETE to RET_SUBMIT. */
#include "lane.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum {
    PDU_HEADER = 48, /* struct usbip_header */
    CMD_SUBMIT = 1,
    RET_SUBMIT = 3,
    ENDPOINTS = 32,
};

struct open_urb {
    uint32_t seqnum, buffer_bytes;
    unsigned char address;
};

struct front_port {
    uint32_t device;
    int fd;
    uint32_t next, last; /* the number that must come, and the last that may */
    uint32_t epochs[ENDPOINTS];
    struct open_urb *urbs; /* in the order in which they were queued */
    size_t open, room;
    struct octets in, unsent;
};

struct front {
    struct link link;
    struct front_port *ports;
    Py_ssize_t count;
};

static bool note_urb(struct front_port *port, struct open_urb urb)
{
    if (port->open == port->room) {
        size_t room = port->room ? 2 * port->room : 16;
        struct open_urb *urbs = realloc(port->urbs, room * sizeof *urbs);
        if (!urbs)
            return false;
        port->urbs = urbs;
        port->room = room;
    }
    port->urbs[port->open++] = urb;
    return true;
}

/* Forward one PDU of vhci_hcd, which is whole. */
static enum verdict forward_pdu(struct front *front, struct front_port *port,
                                const unsigned char *pdu, size_t data_bytes)
{
    uint32_t seqnum = get32(pdu + 4), buffer_bytes = get32(pdu + 24);
    unsigned char address = (pdu[19] & 0x0f) | (get32(pdu + 12) ? DIRECTION_IN : 0);
    unsigned char frame[FRAME_HEADER + SUBMIT_BODY];

    if (!note_urb(port, (struct open_urb){seqnum, buffer_bytes, address}))
        return STOP_BEFORE;
    put32(frame, (uint32_t)(SUBMIT_BODY + data_bytes));
    put32(frame + 4, (uint32_t)FRAME_SUBMIT << 24 | port->device);
    put32(frame + 8, seqnum);
    frame[12] = address;
    frame[13] = 0;
    frame[14] = 0;
    frame[15] = pdu[23] & CARRIED_FLAGS;
    put32(frame + 16, buffer_bytes);
    memcpy(frame + 20, pdu + 40, 8);
    port->next++;
    struct iovec head = {frame, sizeof frame};
    struct iovec payload = {(void *)(pdu + PDU_HEADER), data_bytes};
    return link_send(&front->link, head, payload) ? GO_ON : STOP_BEHIND;
}

/* Whether a header is that of an URB that a lane carries, with the number that must come now. */
static bool carried(const struct front_port *port, const unsigned char *header)
{
    uint32_t seqnum = get32(header + 4);
    return get32(header) == CMD_SUBMIT && seqnum == port->next && seqnum <= port->last &&
           (header[19] & 0x0f) != 0 && get32(header + 24) <= MAX_TRANSFER &&
           (int32_t)get32(header + 32) <= 0; /* not isochronous */
}

static bool vhci_came(struct front *front, struct front_port *port)
{
    if (octets_read(&port->in, port->fd) == ENDED)
        return false;
    while (octets_held(&port->in) >= PDU_HEADER) {
        const unsigned char *pdu = octets_first(&port->in);
        if (!carried(port, pdu))
            return false;
        size_t data_bytes = get32(pdu + 12) ? 0 : get32(pdu + 24);
        if (octets_held(&port->in) < PDU_HEADER + data_bytes)
            return octets_reserve(&port->in, PDU_HEADER + data_bytes);
        enum verdict verdict = forward_pdu(front, port, pdu, data_bytes);
        if (verdict == STOP_BEFORE)
            return false;
        port->in.begin += PDU_HEADER + data_bytes;
        if (verdict == STOP_BEHIND)
            return false;
    }
    return true;
}

static struct front_port *port_of_device(struct front *front, uint32_t device)
{
    for (Py_ssize_t i = 0; i < front->count; i++)
        if (front->ports[i].device == device)
            return &front->ports[i];
    return NULL;
}

/* Whether an URB of the same endpoint is open that was queued before. */
static bool overtakes(const struct front_port *port, size_t place)
{
    for (size_t i = 0; i < place; i++)
        if (port->urbs[i].address == port->urbs[place].address)
            return true;
    return false;
}

/* Forward a COMPLETE of an URB that has succeeded; all else is Python's. */
static enum verdict forward_complete(void *lane, uint32_t kind, const unsigned char *body,
                                     size_t length)
{
    struct front *front = lane;
    struct front_port *port = port_of_device(front, kind & 0xffffff);
    if (kind >> 24 != FRAME_COMPLETE || !port || length < COMPLETE_BODY)
        return STOP_BEFORE;
    uint32_t seqnum = get32(body), status = get32(body + 4), actual = get32(body + 8);
    size_t data_bytes = length - COMPLETE_BODY, place = 0;
    while (place < port->open && port->urbs[place].seqnum != seqnum)
        place++;
    if (place == port->open || status != 0 || body[16] != 0 || overtakes(port, place))
        return STOP_BEFORE;
    struct open_urb urb = port->urbs[place];
    if (get32(body + 12) != port->epochs[endpoint_index(urb.address)] ||
        actual > urb.buffer_bytes || data_bytes != (urb.address & DIRECTION_IN ? actual : 0))
        return STOP_BEFORE;

    unsigned char header[PDU_HEADER] = {0};
    put32(header, RET_SUBMIT);
    put32(header + 4, seqnum);
    put32(header + 24, actual);
    struct iovec parts[] = {
        {header, sizeof header},
        {(void *)(body + COMPLETE_BODY), data_bytes},
    };
    port->open--;
    memmove(port->urbs + place, port->urbs + place + 1, (port->open - place) * sizeof urb);
    return send_parts(port->fd, parts, 2, &port->unsent) ? GO_ON : STOP_BEHIND;
}

static enum whose front_came(void *lane, int fd, uint32_t events)
{
    struct front *front = lane;
    if (events & ~(uint32_t)EPOLLIN)
        return NOT_OURS;
    if (fd == front->link.fd)
        return link_came(&front->link, forward_complete, front) ? OURS : OURS_AND_STOP;
    for (Py_ssize_t i = 0; i < front->count; i++)
        if (fd == front->ports[i].fd)
            return vhci_came(front, &front->ports[i]) ? OURS : OURS_AND_STOP;
    return NOT_OURS;
}

static bool lend_port(struct front_port *port, PyObject *told)
{
    PyObject *epochs, *urbs;
    if (!PyArg_ParseTuple(told, "IiIIOO", &port->device, &port->fd, &port->next, &port->last,
                          &epochs, &urbs))
        return false;
    for (Py_ssize_t i = 0; i < PyList_Size(epochs); i++) {
        unsigned address, epoch;
        if (!PyArg_ParseTuple(PyList_GetItem(epochs, i), "II", &address, &epoch))
            return false;
        port->epochs[endpoint_index(address)] = epoch;
    }
    for (Py_ssize_t i = 0; i < PyList_Size(urbs); i++) {
        struct open_urb urb;
        unsigned address;
        if (!PyArg_ParseTuple(PyList_GetItem(urbs, i), "III", &urb.seqnum, &address,
                              &urb.buffer_bytes))
            return false;
        urb.address = (unsigned char)address;
        if (!note_urb(port, urb)) {
            PyErr_NoMemory();
            return false;
        }
    }
    return true;
}

static PyObject *port_back(struct front_port *port)
{
    PyObject *urbs = PyList_New(0);
    for (size_t i = 0; urbs && i < port->open; i++) {
        struct open_urb *urb = &port->urbs[i];
        PyObject *told = Py_BuildValue("(III)", urb->seqnum, (unsigned)urb->address,
                                       urb->buffer_bytes);
        if (!told || PyList_Append(urbs, told) < 0)
            Py_CLEAR(urbs);
        Py_XDECREF(told);
    }
    free(port->urbs);
    return Py_BuildValue("(INNN)", port->next, urbs, octets_steal(&port->in),
                         octets_steal(&port->unsent));
}

PyObject *lane_front(PyObject *Py_UNUSED(module), PyObject *args)
{
    int epoll_fd;
    double timeout_s;
    PyObject *told;
    struct front front = {0};
    struct link *link = &front.link;
    if (!PyArg_ParseTuple(args, "id(iy#y#)O!", &epoll_fd, &timeout_s, &link->fd, &link->seal,
                          &link->seal_bytes, &link->peers_seal, &link->peers_seal_bytes,
                          &PyList_Type, &told))
        return NULL;
    link_begin(link);
    front.count = PyList_Size(told);
    front.ports = calloc((size_t)front.count + 1, sizeof *front.ports);
    if (!front.ports)
        return PyErr_NoMemory();
    bool lent = true;
    for (Py_ssize_t i = 0; lent && i < front.count; i++)
        lent = lend_port(&front.ports[i], PyList_GetItem(told, i));
    PyObject *events = lent ? wait_and_forward(epoll_fd, timeout_s, front_came, &front) : NULL;

    PyObject *ports = PyList_New(0);
    for (Py_ssize_t i = 0; i < front.count; i++) {
        PyObject *back = port_back(&front.ports[i]);
        if (!back || !ports || PyList_Append(ports, back) < 0)
            Py_CLEAR(ports);
        Py_XDECREF(back);
    }
    free(front.ports);
    free(front.link.out.at);
    PyObject *came = octets_steal(&front.link.in), *unsent = octets_steal(&front.link.unsent);
    if (!events) {
        Py_XDECREF(ports);
        Py_XDECREF(came);
        Py_XDECREF(unsent);
        return NULL;
    }
    return Py_BuildValue("(NONNN)", events, front.link.heard ? Py_True : Py_False, came, unsent,
                         ports);
}

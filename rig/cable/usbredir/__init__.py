"""usbredir, the protocol of QEMU's device ``usb-redir``, as the end that provides the device.

Everything is little endian and packed (``usbredirproto.h``).  A packet is::

    +----------+----------+--------------------+------------------+----------+
    | type u32 | length   | id u32, or u64     | header, by type  | data     |
    |          | u32      | once both said so  |                  |          |
    +----------+----------+--------------------+------------------+----------+

where ``length`` counts the last two.  Both directions are read and written alike, for a model of
QEMU in the tests speaks it too.  `vocabulary` has the numbers, `packets` the kinds of packets,
`codec` turns them into octets and back.  Pure.
"""

"""``rig deepqueue``: a disk on USB with several URBs in flight, as a block device."""

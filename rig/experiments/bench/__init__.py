"""``rig bench``: the split driver beside USB/IP and no split at all."""

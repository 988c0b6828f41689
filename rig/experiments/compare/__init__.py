"""``rig compare``: one plan under each policy, under USB/IP, and without a split driver."""

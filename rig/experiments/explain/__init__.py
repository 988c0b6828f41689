"""``rig explain``: why a sector of a run is as it is."""

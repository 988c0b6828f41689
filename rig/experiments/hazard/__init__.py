"""``rig hazard``: several URBs in flight, the first fails; where do the others land?"""

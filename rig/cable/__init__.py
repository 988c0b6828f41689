"""The cable: the rig as the wire between a Linux gadget and an emulated host controller."""

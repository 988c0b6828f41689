"""``rig fidelity``: whether an endpoint error reaches the client's driver as it was."""

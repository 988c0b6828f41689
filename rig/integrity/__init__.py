"""Whether every sector is where it belongs: stamps, the model, the oracle, and the workload."""

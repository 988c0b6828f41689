"""``rig run``: a workload under a fault plan, and a verdict about every sector."""

"""Many runs on many labs: places of a labgrid coordinator, each reserved, used and given back."""

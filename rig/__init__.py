"""A USB split driver, and the rig that proves it keeps data where it belongs."""

__version__ = "0.1.0"

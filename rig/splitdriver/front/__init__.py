"""The front end: what shows a mapped port as a port of ``vhci_hcd``."""

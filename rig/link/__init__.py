"""The link as a place where faults happen: a relay between the front end and the back end."""

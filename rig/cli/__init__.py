"""The command line: one file a command group; no work is done here."""

"""``python3 -m rig``: the same as the ``rig`` command."""

from rig.cli.main import main

main()

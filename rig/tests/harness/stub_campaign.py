"""``rig campaign`` whose runs are `rig.tests.harness.stub_run`'s."""

from __future__ import annotations

import sys

from rig.campaign import attempts
from rig.cli.main import main

if __name__ == "__main__":
    attempts.RIG = (sys.executable, "-m", "rig.tests.harness.stub_run")
    sys.argv[1:1] = ["campaign"]
    main()

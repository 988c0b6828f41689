from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = {
    "test_one.py": "import pytest\ndef test_it():\n    pytest.skip('no device')\n",
    "test_two.py": "import pytest\npytest.skip('no kernel', allow_module_level=True)\n",
    "test_three.py": "import pytest\n@pytest.mark.xfail\ndef test_it():\n    assert False\n",
}


def run(directory: Path, no_skip: str, *names: str) -> str:
    for name in names:
        (directory / name).write_text(TESTS[name])
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "rig.tests.conftest", "-c", os.devnull]
    argv += ["--continue-on-collection-errors", "--rootdir", str(directory), str(directory)]
    env = {**os.environ, "RIG_NO_SKIP": no_skip, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(argv, check=False, env=env, capture_output=True, text=True, timeout=60)
    return done.stdout


def test_a_skip_is_a_failure_where_everything_must_run(tmp_path: Path) -> None:
    told = run(tmp_path, "1", *TESTS)
    assert "1 failed, 1 xfailed, 1 error" in told
    assert told.count("RIG_NO_SKIP is set, but this was skipped") >= 2


def test_a_skip_is_a_skip_elsewhere(tmp_path: Path) -> None:
    assert "1 skipped" in run(tmp_path, "0", "test_one.py")

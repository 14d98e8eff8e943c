"""Optional packages: installed at the pinned versions into a fresh environment, and used there."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_data_sets_of_hugging_face_where_the_extra_is_installed(tmp_path):
    venv.create(tmp_path / "fresh", with_pip=False)
    python = str(tmp_path / "fresh" / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--python", python]
    wanted = ["install", "--constraint", str(ROOT / "constraints.txt"), "datasets"]
    installed = subprocess.run([*pip, *wanted], capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"datasets cannot be installed: {installed.stderr.strip().splitlines()[-1]}")
    assert not list(tmp_path.glob("fresh/lib/python*/site-packages/torch"))
    tests = str(ROOT / "tests" / "datasets" / "test_huggingface.py")
    result = subprocess.run(
        [python, "-m", "pytest", "-q", "-rs", tests],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "SKIPPED" not in result.stdout

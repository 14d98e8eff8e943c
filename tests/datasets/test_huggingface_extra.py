"""The extra `huggingface`: installed at the pinned versions beside what is there, and used."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = Path(__file__).parent


@pytest.mark.slow
def test_it_adds_itself_replaces_nothing_and_reads_what_hugging_face_saved(tmp_path):
    venv.create(tmp_path, with_pip=False)
    python, [packages] = str(tmp_path / "bin" / "python"), tmp_path.glob("lib/python*/site-packages")
    (packages / "beside.pth").write_text(sysconfig.get_path("purelib"))  # found there: not installed again
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--python", python, "install"]
    wanted = ["--no-compile", "--constraint", str(ROOT / "constraints.txt"), "datasets"]
    installed = subprocess.run([*pip, *wanted], capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"the extra cannot be downloaded: {installed.stderr.strip().splitlines()[-1]}")
    assert list(packages.glob("datasets-*"))
    assert not [*packages.glob("torch"), *packages.glob("numpy"), *packages.glob("pandas")]
    tests = [str(TESTS / "test_huggingface.py"), str(TESTS / "test_splits.py"), "-k", "huggingface"]
    result = subprocess.run(
        [python, "-m", "pytest", "-n0", *tests],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed, " in result.stdout
    assert "skipped" not in result.stdout

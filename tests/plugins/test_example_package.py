"""The example package: built, installed into a fresh environment, and used there by name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXPERIMENT = """
name = "shapes"
tasks = [{ dataset = "shapes", protocol = "closed-set" }]
backbone = "two-layers"
embedding_dim = 8
recipes = ["softmax", "alignment-uniformity"]
[training]
epochs = 2
[budget]
trials = 1
seeds = 2
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Run the interpreter of a fresh environment that has the built wheel, and our dependencies on its path."""
    folder = tmp_path_factory.mktemp("example")
    source = shutil.copytree(ROOT / "examples" / "lossbench-hypersphere", folder / "source")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", str(folder), str(source)]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "fresh", with_pip=False)
    interpreter = folder / "fresh" / "bin" / "python"
    install = ["install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*pip, "--python", str(interpreter), *install], check=True)
    dependencies = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])

    def run(*arguments):
        return subprocess.run(
            [interpreter, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": dependencies},
            capture_output=True,
            text=True,
        )

    return folder, run


@pytest.mark.slow
def test_every_kind_of_plugin_of_an_installed_package_is_used_by_its_name(python):
    folder, run = python
    listed = run("-m", "lossbench", "list")
    assert listed.returncode == 0, listed.stderr
    for name in ("alignment-uniformity", "shapes", "two-layers", "uniformity"):
        assert f"  {name} " in listed.stdout
    (folder / "shapes.toml").write_text(EXPERIMENT)
    result = run("-m", "lossbench", "run", "shapes.toml", "--workers", "0")
    assert result.returncode == 0, result.stderr
    table = (folder / "reports" / "shapes" / "results.csv").read_text().splitlines()
    assert "test.sphere.uniformity" in table[0]
    assert sum(",alignment-uniformity," in line and ",ok," in line for line in table) >= 2


@pytest.mark.slow
def test_the_loss_of_the_package_conforms(python):
    _, run = python
    checked = run("-m", "lossbench", "check", "alignment-uniformity")
    assert checked.returncode == 0, checked.stdout + checked.stderr

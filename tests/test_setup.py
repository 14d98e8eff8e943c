"""How lossbench is installed: what the Makefile asks of which package index."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def torch_command(tmp_path: Path, *arguments: str) -> str:
    """What `make setup` would run for torch in a checkout without an environment."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, tmp_path)
    clean = {name: value for name, value in os.environ.items() if name not in ("TORCH_INDEX", "MAKEFLAGS")}
    asked = ["make", "-n", "setup", *arguments]
    result = subprocess.run(asked, cwd=tmp_path, env=clean, capture_output=True, text=True, check=True)
    [line] = [line for line in result.stdout.splitlines() if line.endswith(" torch")]
    return line


def test_torch_comes_from_the_index_of_pytorch_or_the_one_that_is_named(tmp_path):
    assert "--extra-index-url https://download.pytorch.org/whl/cpu torch" in torch_command(tmp_path)
    assert "--extra-index-url https://x.example torch" in torch_command(tmp_path, "TORCH_INDEX=https://x.example")


def test_an_empty_index_is_the_default_one(tmp_path):
    command = torch_command(tmp_path, "TORCH_INDEX=")
    assert command.strip().startswith(".venv/bin/pip install")
    assert "index" not in command


def test_no_address_of_the_package_registry_stands_in_what_people_copy_commands_from():
    pages = [*ROOT.glob("*.*"), ROOT / "Makefile", *ROOT.glob(".ci/*"), *ROOT.glob("docs/**/*.md")]
    address = re.compile(r"pypi\.|pythonhosted|/simple\b")
    assert [page.name for page in pages if page.is_file() and address.search(page.read_text("utf-8"))] == []

"""The ranges of pyproject.toml admit what the published numbers were computed with, and no major that nobody tried."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
TRIED = {
    canonicalize_name(name): Version(version)
    for name, _, version in (line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    if version
}
NEEDED = [Requirement(text) for texts in (PROJECT["project"]["dependencies"], *EXTRAS.values()) for text in texts]
TOOLS = [Requirement(text) for text in PROJECT["dependency-groups"]["dev"]]
BY_YEAR = {"distributed"}  # its major is the year: it says nothing of what changed


@pytest.mark.parametrize("needed", NEEDED + TOOLS, ids=lambda needed: needed.name)
def test_a_range_admits_the_version_that_was_tried(needed):
    assert TRIED[canonicalize_name(needed.name)] in needed.specifier


@pytest.mark.parametrize(
    "needed", [each for each in NEEDED if each.name not in BY_YEAR], ids=lambda needed: needed.name
)
def test_a_range_admits_no_major_that_was_not_tried(needed):
    """pytorch-metric-learning 3 moves modules this project imports, and numbers: the next major may do so anywhere."""
    following = TRIED[canonicalize_name(needed.name)].major + 1
    assert Version(f"{following}.0") not in needed.specifier

"""The names that other people's code may rely on: they are listed, they are there, and listing them costs nothing."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

PACKAGES = ("lossbench", "lossbench.losses", "lossbench.metrics", "lossbench.datasets")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_public_names_are_listed_and_nothing_else_before_and_after_their_first_use(package):
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name).__name__ == name
    assert dir(module) == sorted(module.__all__)


@pytest.mark.parametrize("package", PACKAGES[1:])
def test_every_public_name_is_looked_up_where_it_is_defined(package):
    module = importlib.import_module(package)
    assert set(module.__all__) == set(module._HOME)


def test_importing_and_listing_import_neither_torch_nor_numpy_nor_pandas():
    code = f"""
import sys, importlib
for package in {PACKAGES}:
    dir(importlib.import_module(package))
from lossbench import Choice, Float, Int, Problem, backbone, dataset, loss, metric
sys.exit(", ".join({{"torch", "numpy", "pandas"}} & sys.modules.keys()))
"""
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert result.stderr.strip() == ""


@pytest.mark.parametrize("package", PACKAGES)
def test_an_unknown_name_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match=f"'{package}' has no attribute 'map_at_r'"):
        _ = importlib.import_module(package).map_at_r

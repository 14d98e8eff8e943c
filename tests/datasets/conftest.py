"""A cache of its own for every test, and one for the whole session where a data set is slow to make."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import dataset_files
import owner_files
import pytest

from lossbench.datasets import Dataset, load

try:
    version("datasets")
except PackageNotFoundError:  # `test_huggingface_extra` runs these where it has installed the package
    collect_ignore = ["test_huggingface.py"]

    def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out the cases of other tests that need the package."""
        needing = [item for item in items if "[huggingface-" in item.nodeid]
        config.hook.pytest_deselected(items=needing)
        items[:] = [item for item in items if item not in needing]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """The cache folder of this test, empty."""
    monkeypatch.setenv("LOSSBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """The data folder of this test, empty."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("LOSSBENCH_DATA", str(folder))
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """`small(name)`: the data set, from small files in the publisher's layout where it has files."""
    root = tmp_path_factory.mktemp("small")
    loaded: dict[str, Dataset] = {}

    def get(name: str) -> Dataset:
        if name not in loaded:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("LOSSBENCH_CACHE", str(root / "cache"))
                patch.setenv("LOSSBENCH_DATA", str(root / "data"))
                if name in owner_files.MINIATURES:
                    owner_files.write(name, root / "data")
                    owner_files.expect_miniatures(patch)
                path = dataset_files.write(name, root / "data")
                loaded[name] = load(f"{name}:{path}" if path else name)
        return loaded[name]

    return get

"""The code digest covers what a run executes and nothing else."""

from __future__ import annotations

import shutil

import pytest

from lossbench.plugins import Plugin, registry
from lossbench.specification import fingerprint
from lossbench.specification.fingerprint import code_digest


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the sources to edit; `digest(loss)` is the digest of a run of that loss with `convnet`."""
    root = tmp_path / "lossbench"
    shutil.copytree(fingerprint.ROOT, root, ignore=shutil.ignore_patterns("__pycache__"))

    def digest(loss):
        for cached in (fingerprint._core, fingerprint._plugin_code, fingerprint._parsed):
            cached.cache_clear()
        plugins = [registry.find("loss", loss), registry.find("backbone", "convnet")]
        monkeypatch.setattr(fingerprint, "ROOT", root)
        moved = [
            Plugin(kind=p.kind, name=p.name, function=p.function, source="",
                            file=root / p.file.relative_to(registry_root))
            for p in plugins
        ]  # fmt: skip
        return code_digest(moved)

    registry_root = fingerprint.ROOT
    yield root, digest
    for cached in (fingerprint._core, fingerprint._plugin_code, fingerprint._parsed):
        cached.cache_clear()


def edit(path, old, new):
    source = path.read_text()
    assert old in source
    path.write_text(source.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "touched"),
    [
        ("losses/center.py", "/ (2 * len(labels))", "/ len(labels)", {"center"}),
        ("losses/tuples.py", "p=2, power=1", "p=2, power=2", {"triplet"}),
        ("losses/triplet.py", "margin=margin, distance", "margin=2 * margin, distance", {"triplet"}),
        ("losses/builtin.py", "alpha=alpha, generator", "alpha=0.5, generator", {"center"}),
        ("losses/builtin.py", 'space={"alpha": Float(0.01, 1.0', 'space={"alpha": Float(0.02, 1.0', set()),
        ("losses/center.py", "Half the mean squared distance", "Half the mean of squared distances", set()),
        ("backbones/convnet.py", "CHANNELS = (16, 32, 32)", "CHANNELS = (16, 32, 64)", {"center", "triplet"}),
        ("run/training.py", "sub_(127.5)", "sub_(128.0)", {"center", "triplet"}),
        ("report/writing/formats.py", "from __future__", "X = 1\nfrom __future__", set()),
    ],
)
def test_an_edit_changes_the_digest_of_the_runs_that_execute_it(package, file, old, new, touched):
    root, digest = package
    before = {loss: digest(loss) for loss in ("center", "triplet")}
    edit(root / file, old, new)
    assert {loss for loss, value in before.items() if digest(loss) != value} == touched

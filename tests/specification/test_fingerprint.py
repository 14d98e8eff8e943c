"""The code digest covers what a run executes and nothing else, wherever that lies."""

from __future__ import annotations

import re
import shutil

import pytest

from lossbench.plugins import registry
from lossbench.specification import fingerprint
from lossbench.specification.fingerprint import EXECUTE, Definition, Sources, code_digest

LOSSES = {name: f"lossbench.losses.builtin.{name}" for name in ("center", "triplet")}
CONVNET = "lossbench.backbones.builtin.convnet"


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    root = tmp_path_factory.mktemp("sources") / "lossbench"
    shutil.copytree(fingerprint.ROOT, root, ignore=shutil.ignore_patterns("__pycache__", "templates"))
    return root


@pytest.fixture
def package(copied):
    """A copy of the sources to edit; it is as it was after each test."""
    before = {path: path.read_text() for path in copied.rglob("*.py")}
    yield copied
    for path in copied.rglob("*.py"):
        if path not in before:
            path.unlink()
    for path, source in before.items():
        if not path.exists() or path.read_text() != source:
            path.write_text(source)


@pytest.fixture(scope="module")
def unchanged(copied):
    return digests(copied)


def digests(root):
    """The digest of a run of each loss with `convnet`."""
    sources = Sources(root)
    return {loss: sources.digest([EXECUTE, CONVNET, function]) for loss, function in LOSSES.items()}


def edit(path, *changes):
    source = path.read_text()
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    path.write_text(source)


def everywhere(root, pattern, new):
    """Replace a pattern in every source; at least one has it."""
    found = 0
    for path in root.rglob("*.py"):
        source, count = re.subn(pattern, new, path.read_text())
        found += count
        path.write_text(source)
    assert found


ALL = set(LOSSES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "touched"),
    [
        # formulas
        ("losses/center.py", "/ (2 * len(labels))", "/ len(labels)", {"center"}),
        ("losses/tuples.py", "p=2, power=1", "p=2, power=2", {"triplet"}),
        ("losses/triplet.py", "margin=margin, distance", "margin=2 * margin, distance", {"triplet"}),
        ("losses/builtin.py", "alpha=alpha, generator", "alpha=0.5, generator", {"center"}),
        ("backbones/convnet.py", "CHANNELS = (16, 32, 32)", "CHANNELS = (16, 32, 64)", ALL),
        ("run/model.py", "sub_(127.5)", "sub_(128.0)", ALL),
        ("run/sampling.py", "steps = size // batch", "steps = max(1, size // batch)", ALL),
        ("run/seeding.py", "digest[:8]", "digest[8:16]", ALL),
        ("metrics/retrieval.py", "/ relevant\n", "/ (relevant + 1)\n", ALL),
        ("metrics/ranking.py", "_STRIPES = 8", "_STRIPES = 4", ALL),
        ("datasets/splits.py", "shares=(3, 1, 1)", "shares=(2, 1, 1)", ALL),
        ("datasets/subset.py", "permutation(available)", "permutation(available[::-1])", ALL),
        ("datasets/dataset.py", "self.part == part", "self.part >= part", ALL),  # a method, known by an annotation
        # what is no formula
        ("losses/builtin.py", 'space={"alpha": Float(0.01, 1.0', 'space={"alpha": Float(0.02, 1.0', set()),
        ("losses/center.py", "Half the mean squared distance", "Half the mean of squared distances", set()),
        ("run/model.py", "def to_input(images: Tensor) -> Tensor", "def to_input(images)", set()),
        ("run/training.py", "factor = rate_factor", "factor: Any = rate_factor", set()),
        ("run/training.py", "    settings = spec.training\n", "    settings = spec.training  # one for all\n", set()),
        ("run/clock.py", "time.perf_counter()", "time.monotonic()", set()),
        ("report/writing/formats.py", "from __future__", "X = 1\nfrom __future__", set()),
        ("run/measuring.py", "ROUNDS = 80", "ROUNDS = 90", set()),
        ("datasets/digits.py", "255 / 16", "254 / 16", set()),  # data are known by their content
    ],
)
def test_an_edit_changes_the_digest_of_the_runs_that_execute_it(package, unchanged, file, old, new, touched):
    edit(package / file, (old, new))
    assert {loss for loss, value in digests(package).items() if value != unchanged[loss]} == touched


def test_moving_a_module_changes_no_digest(package, unchanged):
    (package / "run" / "training.py").rename(package / "run" / "loop.py")
    (package / "losses" / "tuples.py").rename(package / "metrics" / "tuples.py")
    everywhere(package, r"lossbench\.run\.training\b", "lossbench.run.loop")
    everywhere(package, r"lossbench\.losses\.tuples\b", "lossbench.metrics.tuples")
    assert digests(package) == unchanged


def test_moving_a_definition_changes_no_digest(package, unchanged):
    source = (package / "run" / "pull.py").read_text()
    (package / "run" / "fit.py").write_text(source)
    edit(package / "run" / "pull.py", (source, "from lossbench.run.fit import effective_pull\n"))
    assert digests(package) == unchanged


def test_another_alias_of_an_import_changes_no_digest(package, unchanged):
    edit(
        package / "run" / "evaluation.py",
        ("metrics.unit(", "on_sphere("),
        *((f"{before}metrics.", f"{before}measures.") for before in " *("),
        ("import metrics\n", "import metrics as measures\nfrom lossbench.metrics import unit as on_sphere\n"),
        ("import torch\nfrom torch import Tensor, nn", "import torch as t\nfrom torch import Tensor, nn"),
        ("torch.", "t."),
    )  # fmt: skip
    edit(
        package / "losses" / "triplet.py",
        ("tuples import CountingReducer, ", "tuples import CountingReducer as Reducer, "),
        ("CountingReducer()", "Reducer()"),
    )
    assert digests(package) == unchanged


def test_a_re_export_leads_to_the_definition(package, unchanged):
    edit(package / "metrics" / "__init__.py", ("        unit,\n", ""))
    with pytest.raises(LookupError, match=r"lossbench\.metrics\.unit: no such definition"):
        digests(package)


def test_of_two_definitions_of_one_name_the_right_one_counts(package, unchanged):
    edit(
        package / "run" / "pull.py",
        ("from lossbench.run.", "from lossbench.run.other import combine\nfrom lossbench.run."),
    )
    edit(package / "run" / "pull.py", ("WeightedLoss, combine\n", "WeightedLoss\n"))
    (package / "run" / "other.py").write_text("def combine(losses, embeddings, labels):\n    return 0, []\n")
    assert all(value != unchanged[loss] for loss, value in digests(package).items())


def test_a_variable_is_not_the_module_whose_name_it_has(tmp_path):
    root = tmp_path / "lossbench"
    root.mkdir()
    (root / "__init__.py").write_text("")
    (root / "far.py").write_text("def device():\n    return 1\n")
    body = "def run(far):\n    return [device for device in far.device] + [(lambda x: x)(far)]\n"
    (root / "near.py").write_text(f"from lossbench import far\nfrom lossbench.far import device\n\n{body}")
    assert Sources(root).reached("lossbench.near.run") == {
        Definition("lossbench.near", "run"),
        Definition("lossbench.near", ""),
    }


def test_a_run_reaches_its_training_and_no_report():
    reached = {f"{module}.{name}" for module, name in Sources(fingerprint.ROOT).reached(EXECUTE)}
    assert {"lossbench.run.training.train", "lossbench.metrics.retrieval.retrieval_metrics"} <= reached
    assert not [name for name in reached if re.match(r"lossbench\.(report|sweep|store|statistics|specification)", name)]


@pytest.mark.parametrize("kind", ["loss", "backbone"])
def test_every_built_in_plugin_has_a_digest_of_its_own(kind):
    every = [registry.find(kind, name) for name in registry.names(kind)]
    plugins = [plugin for plugin in every if plugin.builtin]
    assert len({code_digest([plugin]) for plugin in plugins}) == len(plugins)

"""What a plan refuses of data of one's own, before it decodes them, and what it says of them."""

from __future__ import annotations

import dataset_files
import pytest

from experiments import tiny_plan
from lossbench.plugins.mistakes import SpecError


@pytest.fixture
def own(tmp_path, monkeypatch):
    """`own(classes, count)`: the setting whose one task is a folder of so many classes and pictures in each."""
    monkeypatch.setenv("LOSSBENCH_CACHE", str(tmp_path / "cache"))

    def write(classes: int, count: int, protocol: str = "closed-set") -> str:
        folder = tmp_path / "pictures"
        folder.mkdir()
        dataset_files.write_pictures(folder, classes, count)
        return f'tasks=[{{dataset="folder:{folder}", protocol="{protocol}"}}]'

    return write


@pytest.mark.parametrize(
    ("classes", "count", "says"),
    [
        (4, 10, "training.batch_size 64 is more than the 24 samples there are to train on; "
                "--set training.batch_size=16"),
        (2, 5, "the 2 samples there are to train on; more samples are needed, at least 4"),
        (2, 8, "--set training.batch_size=8"),
        (2, 6, "--set training.batch_size=4 --set training.samples_per_class=2"),
        (5, 2, "closed-set: no class has two samples in val"),
        (1, 50, "holds one class, 'class0'"),
    ],
)  # fmt: skip
def test_too_little_is_refused_before_decoding_with_the_line_that_helps(own, monkeypatch, classes, count, says):
    setting = own(classes, count)
    monkeypatch.setattr("lossbench.datasets.pictures.read", None)
    with pytest.raises(SpecError) as refused:
        tiny_plan(setting, "training.batch_size=64")
    assert len(refused.value.mistakes) == 1
    assert says in refused.value.mistakes[0]


def test_the_line_that_is_offered_helps(own):
    plan = tiny_plan(own(2, 6), "training.batch_size=4", "training.samples_per_class=2")
    assert list(plan.train_sizes.values()) == [4]


def test_small_classes_are_said(own):
    with pytest.warns(UserWarning, match="closed-set: 6 of 6 classes have three or four samples"):
        tiny_plan(own(6, 4), "training.batch_size=4", "training.samples_per_class=2")


def test_a_plan_knows_classes_and_samples_of_each_split():
    """Of digits as docs/protocol.md has them, and of the open-set task of the ablation 60 and 60 of its classes."""
    plan = tiny_plan(
        'tasks=[{dataset="digits", protocol="closed-set"}, '
        '{dataset="glyphs", protocol="open-set", train_classes=60, val_classes=60}]'
    )
    digits, glyphs = plan.splits.values()
    assert digits == {"train": (10, 1079), "val": (10, 359), "test": (10, 359)}
    assert [classes for classes, _ in glyphs.values()] == [60, 60, 260]
    for task, parts in plan.splits.items():
        assert parts["train"][1] == plan.train_sizes[task]
        assert (parts["val"][1], parts["test"][1]) == plan.scored[task]

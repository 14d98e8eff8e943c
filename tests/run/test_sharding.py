"""Class-parallel losses: ranks that share the classes are one process that has them all."""

from __future__ import annotations

import pytest
import torch
from run.shard_probe import CLASSES, DIM, RECIPES, SAMPLED, probe
from run.test_parallel import HERE, fork
from run.test_sampled import assert_dense

from lossbench.losses import CenterLoss, SoftmaxLoss
from lossbench.run import sharding

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alone():
    return probe()


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """What two ranks did, and three that went on from where the two had ended."""
    two, three = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("three")
    for count, arguments in ((2, [two]), (3, [three, two / "rank0.pt"])):
        done = fork(count, HERE / "run" / "shard_probe.py", *arguments)
        assert done.returncode == 0, done.stderr[-3000:]
    return {
        count: [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(count)]
        for count, folder in ((2, two), (3, three))
    }


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_ranks_are_one_process_in_loss_gradient_and_state(alone, shards, recipe, rank):
    expected, found = alone[recipe], shards[2][rank][recipe]
    for part in ("losses", "gradients"):
        torch.testing.assert_close(found[part], expected[part], rtol=1e-11, atol=1e-13)
    assert found["state"].keys() == expected["state"].keys()
    for name, value in expected["state"].items():
        torch.testing.assert_close(found["state"][name], value, rtol=1e-11, atol=1e-13, msg=name)


@pytest.mark.parametrize("recipe", RECIPES)
def test_another_number_of_ranks_goes_on_from_the_state_that_two_left(alone, shards, recipe):
    expected, found = alone[recipe]["further"], shards[3][2][recipe]["further"]
    torch.testing.assert_close(found["losses"], expected["losses"], rtol=1e-11, atol=1e-13)
    for name, value in expected["state"].items():
        torch.testing.assert_close(found["state"][name], value, rtol=1e-11, atol=1e-13, msg=name)


def test_a_rank_holds_its_own_classes_only(shards):
    held = [shards[3][rank]["softmax+center"]["shapes"] for rank in range(3)]
    assert [shape["loss.softmax weight"] for shape in held] == [(2, DIM), (2, DIM), (3, DIM)]
    assert [shape["loss.softmax bias"] for shape in held] == [(2,), (2,), (3,)]
    assert [shape["loss.center centers"] for shape in held] == [(2, DIM), (2, DIM), (3, DIM)]
    assert [shards[3][rank]["arcface"]["shapes"]["loss.arcface W"] for rank in range(3)] == [
        (DIM, 2),
        (DIM, 2),
        (DIM, 3),
    ]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_parameters_of_all_ranks_are_counted(alone, shards, recipe):
    assert shards[2][0][recipe]["parameters"] == alone[recipe]["parameters"]


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("recipe", SAMPLED)
def test_ranks_that_draw_classes_of_their_own_take_the_step_of_all_these(shards, recipe, ranks):
    found = [shards[ranks][rank]["sampled"][recipe] for rank in range(ranks)]
    for turn in zip(*(each["steps"] for each in found), strict=True):
        for each, step in zip(found, turn, strict=True):
            start, stop = each["own"]
            labels = {label for label in step["labels"].tolist() if start <= label < stop}
            assert labels <= set(step["drawn"].tolist()) <= set(range(start, stop))
            assert len(step["drawn"]) == max(round((stop - start) / 2), len(labels))
            assert_dense(recipe, step, torch.cat([step["drawn"] for step in turn]))


def test_alone_nothing_is_split():
    for module in (SoftmaxLoss(CLASSES, DIM), CenterLoss(CLASSES, DIM)):
        assert sharding.sharded(module) is module

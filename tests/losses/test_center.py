"""Centre loss against the reference values, the paper's equations, and what follows from them."""

from __future__ import annotations

import copy

import pytest
import torch
from golden.cases import golden_cases
from hypothesis import given, settings
from hypothesis import strategies as st

from lossbench.losses import CenterLoss


def make(num_classes=5, dim=3, alpha=0.5, seed=0):
    return CenterLoss(num_classes, dim, alpha=alpha, generator=torch.Generator().manual_seed(seed)).double()


def batch(size=8, num_classes=5, dim=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(size, dim, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(num_classes, (size,), generator=generator)


@pytest.mark.parametrize("case", golden_cases())
def test_reference_steps(case):
    embeddings = torch.tensor(case["embeddings"], dtype=torch.float64)
    labels = torch.tensor(case["labels"])
    start = torch.tensor(case["center"]["centers"], dtype=torch.float64)
    loss = CenterLoss(*start.shape, alpha=case["center"]["alpha"]).double()
    loss.centers.copy_(start)
    for step in case["center"]["steps"]:
        inputs = embeddings[step["index"]].clone().requires_grad_()
        value = loss(inputs, labels[step["index"]])
        value.backward()
        assert value.item() == pytest.approx(step["loss"], rel=1e-12)
        torch.testing.assert_close(inputs.grad, torch.tensor(step["grad"], dtype=torch.float64), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(
            loss.centers, torch.tensor(step["centers_after"], dtype=torch.float64), rtol=1e-12, atol=1e-14
        )


@given(seed=st.integers(0, 1000), size=st.integers(1, 20), alpha=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_equations_written_as_loops(seed, size, alpha):
    loss = make(alpha=alpha, seed=seed)
    embeddings, labels = batch(size, seed=seed + 1)
    before = loss.centers.clone()
    value = loss(embeddings, labels)
    expected = sum(((embeddings[i] - before[labels[i]]) ** 2).sum() for i in range(size)) / (2 * size)
    torch.testing.assert_close(value, expected)
    for j in range(5):
        members = [i for i in range(size) if labels[i] == j]
        delta = sum((before[j] - embeddings[i] for i in members), torch.zeros(3, dtype=torch.float64))
        torch.testing.assert_close(loss.centers[j], before[j] - alpha * delta / (1 + len(members)))


def test_gradient_is_that_of_fixed_centers():
    loss = make()
    embeddings, labels = batch()
    embeddings.requires_grad_()

    def value(points):
        return copy.deepcopy(loss)(points, labels)  # every evaluation starts from the same centres

    assert torch.autograd.gradcheck(value, (embeddings,))
    value(embeddings).backward()
    torch.testing.assert_close(embeddings.grad, (embeddings.detach() - loss.centers[labels]) / len(labels))


def test_no_gradient_and_no_optimizer_reaches_the_centers():
    loss = make()
    assert list(loss.parameters()) == []
    assert not loss.centers.requires_grad
    assert "centers" in loss.state_dict()


def test_duplicated_batch_has_the_same_loss_and_mean_gradient():
    once, twice = make(), make()
    embeddings, labels = batch()
    single = embeddings.clone().requires_grad_()
    double = torch.cat([embeddings, embeddings]).requires_grad_()
    value = once(single, labels)
    value.backward()
    doubled = twice(double, torch.cat([labels, labels]))
    doubled.backward()
    torch.testing.assert_close(value, doubled)
    torch.testing.assert_close(single.grad, double.grad[: len(labels)] + double.grad[len(labels) :])


def test_absent_classes_stay_where_they_are():
    loss = make(num_classes=6)
    before = loss.centers.clone()
    loss(torch.ones(4, 3, dtype=torch.float64), torch.tensor([1, 1, 4, 4]))
    moved = (loss.centers != before).any(1)
    assert moved.tolist() == [False, True, False, False, True, False]


def test_the_step_does_not_depend_on_the_number_of_classes():
    small, large = make(num_classes=5), make(num_classes=5000)
    large.centers[:5] = small.centers
    embeddings, labels = batch()
    assert torch.equal(small(embeddings, labels), large(embeddings, labels))
    assert torch.equal(small.centers, large.centers[:5])


@pytest.mark.parametrize("size", [1, 2, 7])
def test_one_step_at_alpha_one_goes_n_over_one_plus_n_of_the_way_to_the_mean(size):
    loss = make(alpha=1.0)
    embeddings, _ = batch(size)
    before = loss.centers[2].clone()
    loss(embeddings, torch.full((size,), 2))
    torch.testing.assert_close(loss.centers[2] - before, (embeddings.mean(0) - before) * size / (1 + size))


def test_evaluation_mode_moves_nothing():
    loss = make().eval()
    before = loss.centers.clone()
    loss(*batch())
    assert torch.equal(loss.centers, before)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_outside_its_range_is_refused(alpha):
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        CenterLoss(3, 2, alpha=alpha)


def test_half_precision_embeddings_move_full_precision_centers():
    loss = CenterLoss(5, 3)
    embeddings, labels = batch()
    value = loss(embeddings.to(torch.bfloat16), labels)
    assert torch.isfinite(value)
    assert loss.centers.dtype == torch.float32

"""The relatives of center loss against their equations written as loops, and what follows from them."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from lossbench.losses import ContrastiveCenterLoss, IslandLoss, RingLoss, TripletCenterLoss

C, D = 4, 3
MAKERS = {
    "contrastive-center": lambda generator: ContrastiveCenterLoss(C, D, delta=0.7, generator=generator),
    "triplet-center": lambda generator: TripletCenterLoss(C, D, margin=1.5, alpha=0.3, generator=generator),
    "ring": lambda generator: RingLoss(),
    "island": lambda generator: IslandLoss(C, D, lambda_1=0.6, alpha=0.3, generator=generator),
}


def make(name, seed=0):
    return MAKERS[name](torch.Generator().manual_seed(seed)).double()


def batch(size=9, seed=1, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    embeddings = scale * torch.randn(size, D, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(C, (size,), generator=generator)


def square(vector):
    return sum(float(value) ** 2 for value in vector)


@pytest.mark.parametrize("seed", range(5))
def test_contrastive_center_by_loops(seed):
    loss = make("contrastive-center", seed)
    embeddings, labels = batch(seed=seed)
    centers = loss.proxies.detach()
    expected = 0.0
    for x, y in zip(embeddings, labels, strict=True):
        others = sum(square(x - centers[j]) for j in range(C) if j != y)
        expected += square(x - centers[y]) / (others + 0.7) / (2 * len(labels))
    assert loss(embeddings, labels).item() == pytest.approx(expected, rel=1e-12)


def test_contrastive_center_gradient_reaches_embeddings_and_centers():
    loss = make("contrastive-center")
    embeddings, labels = batch()

    def value(points, proxies):
        return torch.func.functional_call(loss, {"proxies": proxies}, (points, labels))

    assert torch.autograd.gradcheck(value, (embeddings.requires_grad_(), loss.proxies.detach().requires_grad_()))


def test_contrastive_center_far_from_the_origin_keeps_its_digits():
    """The sum over classes must not be a difference of large numbers."""
    loss = ContrastiveCenterLoss(C, D, generator=torch.Generator().manual_seed(0))
    embeddings, labels = batch()
    near = loss(embeddings.float(), labels).item()
    with torch.no_grad():
        loss.proxies += 1000.0
    assert loss(embeddings.float() + 1000.0, labels).item() == pytest.approx(near, rel=1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_triplet_center_by_loops(seed):
    loss = make("triplet-center", seed)
    embeddings, labels = batch(seed=seed)
    before = loss.centers.clone()
    value, terms = 0.0, []
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        distance = [square(x - before[j]) / 2 for j in range(C)]
        rival = min((j for j in range(C) if j != y), key=lambda j: distance[j])
        hinge = max(0.0, distance[y] + 1.5 - distance[rival])
        value += hinge / len(labels)
        if hinge > 0:
            terms.append((x, y, rival))
    assert terms
    assert loss(embeddings, labels).item() == pytest.approx(value, rel=1e-12)
    for j in range(C):
        own = [before[j] - x for x, y, _ in terms if y == j]
        near = [before[j] - x for x, _, rival in terms if rival == j]
        zero = torch.zeros(D, dtype=torch.float64)
        delta = sum(own, zero) / (1 + len(own)) - sum(near, zero) / (1 + len(near))
        torch.testing.assert_close(loss.centers[j], before[j] - 0.3 * delta)


@pytest.mark.parametrize("seed", range(8))
def test_island_by_loops(seed):
    loss = make("island", seed)
    embeddings, labels = batch(seed=seed)
    before = loss.centers.clone()
    value = sum(square(x - before[y]) for x, y in zip(embeddings, labels, strict=True)) / (2 * len(labels))
    for j in range(C):
        for k in range(C):
            if k != j:
                lengths = math.sqrt(square(before[j]) * square(before[k]))
                value += 0.6 * (float(before[j] @ before[k]) / lengths + 1)
    assert loss(embeddings, labels).item() == pytest.approx(value, rel=1e-12)
    for j in range(C):
        members = [x for x, y in zip(embeddings, labels, strict=True) if y == j]
        delta = sum((before[j] - x for x in members), torch.zeros(D, dtype=torch.float64)) / (1 + len(members))
        for k in range(C):
            if k != j:
                a, b = math.sqrt(square(before[j])), math.sqrt(square(before[k]))
                turn = before[k] / (a * b) - (before[k] @ before[j]) / (b * a**3) * before[j]
                delta = delta + 0.6 / (C - 1) * turn
        torch.testing.assert_close(loss.centers[j], before[j] - 0.3 * delta)


def test_island_turns_the_centers_apart_by_its_own_gradient():
    """The second part of the step is the gradient of the pair term, halved: each pair stands in the sum twice."""
    loss = make("island").eval()
    centers = loss.centers.clone().requires_grad_()
    directions = torch.nn.functional.normalize(centers)
    pairs = (directions @ directions.T + 1).fill_diagonal_(0.0).sum() * loss.lambda_1
    pairs.backward()
    before = loss.centers.clone()
    loss.train()(before[:1].clone(), torch.tensor([0]))  # a sample on its center moves nothing
    torch.testing.assert_close(loss.centers, before - 0.3 * centers.grad / 2 / (C - 1))


def test_ring_by_loops_with_the_radius_of_the_first_batch():
    loss = make("ring")
    embeddings, labels = batch()
    lengths = [math.sqrt(square(x)) for x in embeddings]
    radius = sum(lengths) / len(lengths)
    expected = sum((length - radius) ** 2 for length in lengths) / (2 * len(lengths))
    assert loss(embeddings, labels).item() == pytest.approx(expected, rel=1e-12)
    loss(10 * embeddings, labels)
    assert loss.radius.item() == pytest.approx(radius)  # the optimizer's from then on


def test_ring_gradients_with_a_radius_apart_from_the_mean_and_an_embedding_at_zero():
    loss = make("ring")
    embeddings, labels = batch()
    loss(embeddings, labels)

    def value(points, radius):
        return torch.func.functional_call(loss, {"radius": radius}, (points, labels))

    radius = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(value, (embeddings.clone().requires_grad_(), radius))
    points = torch.zeros(2, D, requires_grad=True)
    loss.float()(points, labels[:2]).backward()
    assert points.grad.isfinite().all()


@pytest.mark.parametrize("name", ["triplet-center", "island"])
def test_gradient_is_that_of_fixed_centers(name):
    loss = make(name)
    embeddings, labels = batch(scale=2.0)
    assert torch.autograd.gradcheck(lambda points: copy.deepcopy(loss)(points, labels), (embeddings.requires_grad_(),))
    assert list(loss.parameters()) == []
    assert not loss.centers.requires_grad


@pytest.mark.parametrize("name", ["triplet-center", "island", "ring"])
def test_evaluation_mode_moves_nothing(name):
    loss = make(name).eval()
    before = {key: value.clone() for key, value in loss.state_dict().items()}
    loss(*batch())
    assert all(torch.equal(value, before[key]) for key, value in loss.state_dict().items())


@pytest.mark.parametrize("name", ["contrastive-center", "triplet-center", "island"])
def test_lambda_does_not_depend_on_the_batch_size(name):
    embeddings, labels = batch()
    once = make(name)(embeddings, labels)
    torch.testing.assert_close(make(name)(torch.cat([embeddings] * 3), torch.cat([labels] * 3)), once)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: TripletCenterLoss(1, 2), "num_classes: 1 is below 2"),
        (lambda: TripletCenterLoss(3, 2, alpha=1.5), r"alpha: 1.5 is outside \[0, 1\]"),
        (lambda: TripletCenterLoss(3, 2, margin=-1.0), "margin: -1.0 is below 0"),
        (lambda: IslandLoss(1, 2), "num_classes: 1 is below 2"),
        (lambda: IslandLoss(3, 2, lambda_1=float("nan")), "lambda_1: nan is below 0"),
        (lambda: ContrastiveCenterLoss(3, 2, delta=-1.0), "delta: -1.0 is below 0"),
    ],
)
def test_arguments_that_no_paper_allows_are_refused(build, reason):
    with pytest.raises(ValueError, match=reason):
        build()

"""The centre loss of widely used implementations against float64 loops that run their algorithms step by step."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from lossbench.losses import CenterLoss
from lossbench.losses.center_variants import AutogradCenterLoss, CaffeCenterLoss, PopularCenterLoss
from lossbench.plugins import Problem, registry
from lossbench.run.model import Model, WeightedLoss, combine
from lossbench.run.optimizer import make_optimizer
from lossbench.run.pull import effective_pull
from lossbench.specification.plan import SpecError
from lossbench.specification.training_settings import Training

CLASSES, DIM, SIZE, STEPS = 5, 3, 8, 6
LR, MOMENTUM, WEIGHT = 0.1, 0.9, 0.3
VARIANTS = {"caffe": CaffeCenterLoss, "autograd": AutogradCenterLoss, "popular": PopularCenterLoss}


def make(variant, **options):
    return VARIANTS[variant](CLASSES, DIM, generator=torch.Generator().manual_seed(0), **options).double()


def batches(steps=STEPS, seed=1):
    """Batches in which class 4 is absent after the first step."""
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(size=(SIZE, DIM)), np.concatenate([rng.integers(0, 4, SIZE - 1), [4 if step == 0 else 0]]))
        for step in range(steps)
    ]


def run(loss, weight=WEIGHT):
    """(loss, gradient of the total in the embeddings, centers after the step) of every step of the training loop."""
    model = Model(torch.nn.Identity(), [WeightedLoss("loss", weight, loss)])
    optimizer = make_optimizer(model, Training(optimizer="sgd", momentum=MOMENTUM), LR)
    trace = []
    for points, labels in batches():
        inputs = torch.tensor(points, requires_grad=True)
        total, (value,) = combine(model.losses, inputs, torch.tensor(labels))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        trace.append((value.item(), inputs.grad.numpy(), loss.centers.detach().numpy().copy()))
    return trace


def caffe_by_loops(centers):
    """The layer's two passes and the solver's update, V <- momentum V + lr diff, W <- W - V, for every class."""
    history = np.zeros_like(centers)
    for points, labels in batches():
        difference = [points[i] - centers[labels[i]] for i in range(SIZE)]
        value = sum(float(d @ d) for d in difference) / SIZE / 2
        bottom = np.array([WEIGHT / SIZE * d for d in difference])
        diff = np.zeros_like(centers)
        for j in range(CLASSES):
            count = 0
            for i in range(SIZE):
                if labels[i] == j:
                    count += 1
                    diff[j] -= difference[i]
            diff[j] /= count + 1
        history = MOMENTUM * history + LR * diff
        centers = centers - history
        yield value, bottom, centers


def autograd_by_loops(centers):
    """Central differences of the total loss in every coordinate of the centers, and SGD with momentum."""

    def total(points, labels, at):
        return WEIGHT * sum(float(np.sum((points[i] - at[labels[i]]) ** 2)) for i in range(SIZE)) / (2 * SIZE)

    history = np.zeros_like(centers)
    for points, labels in batches():
        value = total(points, labels, centers) / WEIGHT
        bottom = np.array([WEIGHT * (points[i] - centers[labels[i]]) / SIZE for i in range(SIZE)])
        gradient = np.zeros_like(centers)
        for place in np.ndindex(*centers.shape):
            step = np.zeros_like(centers)
            step[place] = 1e-3
            gradient[place] = (total(points, labels, centers + step) - total(points, labels, centers - step)) / 2e-3
        history = MOMENTUM * history + gradient
        centers = centers - LR * history
        yield value, bottom, centers


def popular_by_loops(centers, alpha=0.5):
    """The port's whole distance matrix, mask and clamp; its gradient times 1 / weight; SGD without momentum."""
    for points, labels in batches():
        distances = [[float(np.sum((x - c) ** 2)) for c in centers] for x in points]
        kept = [[d if labels[i] == j else 0.0 for j, d in enumerate(row)] for i, row in enumerate(distances)]
        value = sum(min(max(d, 1e-12), 1e12) for row in kept for d in row) / SIZE
        bottom = np.array([WEIGHT * 2 * (points[i] - centers[labels[i]]) / SIZE for i in range(SIZE)])
        gradient = np.zeros_like(centers)
        for i in range(SIZE):
            gradient[labels[i]] += WEIGHT * 2 * (centers[labels[i]] - points[i]) / SIZE
        gradient *= 1.0 / WEIGHT
        centers = centers - alpha * gradient
        yield value, bottom, centers


@pytest.mark.parametrize(
    ("variant", "reference"),
    [("caffe", caffe_by_loops), ("autograd", autograd_by_loops), ("popular", popular_by_loops)],
)
def test_several_steps_follow_the_implementation(variant, reference):
    loss = make(variant)
    start = loss.centers.detach().numpy().copy()
    for (value, gradient, centers), (expected, bottom, moved) in zip(run(loss), reference(start), strict=True):
        assert value == pytest.approx(expected, rel=1e-10)
        np.testing.assert_allclose(gradient, bottom, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(centers, moved, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_is_that_of_fixed_centers(variant):
    loss = make(variant).eval()
    points, labels = batches()[0]
    inputs = torch.tensor(points, requires_grad=True)
    assert torch.autograd.gradcheck(lambda at: loss(at, torch.tensor(labels)), (inputs,))


@pytest.mark.parametrize(("variant", "moves"), [("caffe", True), ("autograd", True), ("popular", False)])
def test_momentum_moves_classes_that_are_absent(variant, moves):
    trace = run(make(variant))
    drift = [np.abs(after[2][4] - before[2][4]).max() for before, after in itertools.pairwise(trace)]
    assert all((step > 0) == moves for step in drift)


def test_only_autograd_confounds_lambda_with_the_step_of_the_centers():
    last = {name: [run(make(name), weight)[-1][2] for weight in (0.1, 0.2)] for name in VARIANTS}
    assert {name for name, (one, two) in last.items() if not np.allclose(one, two)} == {"autograd"}


def test_all_variants_and_the_paper_start_alike():
    paper = CenterLoss(CLASSES, DIM, generator=torch.Generator().manual_seed(0)).double()
    assert all(torch.equal(make(name).centers, paper.centers) for name in VARIANTS)


# Values of the table in docs/protocol.md: alpha 0.5, lr 0.01, momentum 0.9, lambda 0.01.
PULLS = [
    ("center", 10, 1280, None, None),
    ("center", 256, 256, 0.25, 0.25),
    ("center-caffe", 256, 256, 0.005, 0.05),
    ("center-popular", 10, 1280, 0.100, 0.100),
    ("center-popular", 256, 256, 1 / 256, 1 / 256),
    ("center-autograd", 10, 1280, 1e-5, 1e-4),
]


def measured(name, classes, size, **params):
    problem = Problem(num_classes=classes, embedding_dim=4, generator=torch.Generator().manual_seed(0))
    module = registry.find("loss", name).build(problem, **params).double()
    points = torch.randn(size, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    settings = Training(optimizer="sgd", momentum=0.9)
    found = effective_pull([WeightedLoss("c", 0.01, module)], points, torch.arange(size) % classes, settings, 0.01)
    return found["c.pull"], found["c.pull_sustained"]


@pytest.mark.parametrize(("name", "classes", "size", "first", "sustained"), PULLS)
def test_measured_pull_is_the_closed_form(name, classes, size, first, sustained):
    share = size / classes
    if first is None:
        first = sustained = 0.5 * share / (1 + share)
    assert measured(name, classes, size) == pytest.approx((first, sustained), rel=1e-4)


def test_pulls_of_the_papers_example():
    """Ten classes, batches of 128: 12.8 samples a class on average, so eight classes of 13 and two of 12."""
    assert measured("center", 10, 128)[0] == pytest.approx(0.464, abs=1e-3)
    first, sustained = measured("center-caffe", 10, 128)
    assert first == pytest.approx(0.0093, abs=5e-5)
    assert sustained == pytest.approx(10 * first, rel=1e-3)
    assert measured("center-popular", 10, 128)[0] == pytest.approx(0.100, abs=1e-3)


def test_measuring_changes_nothing():
    loss = make("caffe")
    before = loss.centers.detach().clone()
    points, labels = (torch.tensor(part) for part in batches()[0])
    effective_pull([WeightedLoss("c", 0.01, loss)], points, labels, Training(optimizer="sgd"), 0.01)
    assert torch.equal(loss.centers, before)
    assert loss.centers.grad is None


def test_weight_zero_divides_by_zero_in_the_popular_port_and_is_refused():
    from experiments import tiny_plan

    with pytest.raises(SpecError, match=r"softmax\+center-popular\"\.lambda: 0\.0 is outside"):
        tiny_plan('recipes=["softmax+center-popular"]', 'params."softmax+center-popular".lambda=0.0')

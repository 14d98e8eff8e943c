"""Softmax, contrastive and triplet against reference values and naive loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from golden.cases import golden_cases

from lossbench.losses import ContrastiveLoss, SoftmaxLoss, TripletLoss
from lossbench.specification.recipes import make_recipe, with_params
from lossbench.specification.training_settings import Training


def batch(size=12, num_classes=4, dim=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, dim, generator=generator, dtype=torch.float64), torch.arange(size) % num_classes


def unit_distances(embeddings):
    points = embeddings.numpy() / np.linalg.norm(embeddings.numpy(), axis=1, keepdims=True)
    return np.linalg.norm(points[:, None] - points[None], axis=2)


def naive_triplets(distances, labels, margin, keep=lambda positive, negative, margin: True):
    size = range(len(labels))
    triplets = [
        (distances[a, p], distances[a, n])
        for a in size
        for p in size
        for n in size
        if p != a and labels[p] == labels[a] != labels[n]
    ]
    return [max(0.0, near - far + margin) for near, far in triplets if keep(near, far, margin)]


@pytest.mark.parametrize("case", golden_cases())
def test_reference_contrastive(case):
    rows = case["contrastive"]["rows"]
    embeddings = torch.tensor(case["embeddings"][:rows], dtype=torch.float64)
    loss = ContrastiveLoss(pos_margin=case["contrastive"]["pos_margin"], neg_margin=case["contrastive"]["neg_margin"])
    value = loss(embeddings, torch.tensor(case["labels"][:rows]))
    assert value.item() == pytest.approx(case["contrastive"]["loss"], rel=1e-9)


@pytest.mark.parametrize("case", golden_cases())
def test_reference_triplet(case):
    rows = case["triplet"]["rows"]
    embeddings = torch.tensor(case["embeddings"][:rows], dtype=torch.float64)
    value = TripletLoss(margin=case["triplet"]["margin"], miner="all")(embeddings, torch.tensor(case["labels"][:rows]))
    assert value.item() == pytest.approx(case["triplet"]["loss"], rel=1e-9)


def test_contrastive_is_the_sum_of_two_means_over_non_zero_terms():
    embeddings, labels = batch()
    distances = unit_distances(embeddings)
    pairs = [(i, j) for i in range(12) for j in range(12) if i != j]
    positives = [max(0.0, distances[i, j] - 0.2) for i, j in pairs if labels[i] == labels[j]]
    negatives = [max(0.0, 0.8 - distances[i, j]) for i, j in pairs if labels[i] != labels[j]]
    expected = np.mean([v for v in positives if v > 0]) + np.mean([v for v in negatives if v > 0])
    loss = ContrastiveLoss(pos_margin=0.2, neg_margin=0.8)
    assert loss(embeddings, labels).item() == pytest.approx(expected)
    formed, active = loss.take_tuple_counts()
    assert (formed, active) == (len(pairs), sum(v > 0 for v in positives + negatives))
    assert loss.take_tuple_counts() == (0, 0)


@pytest.mark.parametrize(
    ("miner", "keep"),
    [
        ("all", lambda positive, negative, margin: True),
        ("semi-hard", lambda positive, negative, margin: 0 < negative - positive <= margin),
    ],
)
def test_triplet_by_loops(miner, keep):
    embeddings, labels = batch()
    terms = naive_triplets(unit_distances(embeddings), labels.tolist(), 0.4, keep)
    active = [term for term in terms if term > 0]
    loss = TripletLoss(margin=0.4, miner=miner)
    assert loss(embeddings, labels).item() == pytest.approx(np.mean(active))
    assert loss.take_tuple_counts() == (len(terms), len(active))


def test_batch_hard_takes_the_hardest_positive_and_negative_of_each_anchor():
    embeddings, labels = batch()
    distances, names = unit_distances(embeddings), labels.tolist()
    terms = []
    for a in range(12):
        positive = max(distances[a, p] for p in range(12) if p != a and names[p] == names[a])
        negative = min(distances[a, n] for n in range(12) if names[n] != names[a])
        terms.append(positive - negative + 0.2)
    expected = np.mean([term for term in terms if term > 0])
    assert TripletLoss(margin=0.2, miner="batch-hard")(embeddings, labels).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [ContrastiveLoss(neg_margin=0.7), TripletLoss(margin=0.3, miner="all")])
def test_gradients(loss):
    embeddings, labels = batch(8)
    assert torch.autograd.gradcheck(lambda points: loss(points, labels), (embeddings.requires_grad_(),))


def test_softmax_is_cross_entropy_of_a_linear_head():
    loss = SoftmaxLoss(4, 3).double()
    torch.nn.init.uniform_(loss.bias)
    embeddings, labels = batch()
    scores = embeddings @ loss.weight.T + loss.bias
    expected = -sum(math.log(torch.softmax(scores[i], 0)[labels[i]].item()) for i in range(12)) / 12
    assert loss(embeddings, labels).item() == pytest.approx(expected)
    assert torch.autograd.gradcheck(lambda points: loss(points, labels), (embeddings.requires_grad_(),))


def test_softmax_survives_huge_logits():
    loss = SoftmaxLoss(4, 3)
    embeddings = torch.full((2, 3), 1e30, requires_grad=True)
    value = loss(embeddings, torch.tensor([0, 1]))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(embeddings.grad).all()


@pytest.mark.parametrize("loss", [ContrastiveLoss(), TripletLoss()])
def test_a_batch_without_tuples_costs_nothing_but_keeps_the_graph(loss):
    embeddings = torch.randn(3, 4, requires_grad=True)
    value = loss(embeddings, torch.tensor([0, 0, 0]) if isinstance(loss, TripletLoss) else torch.tensor([0, 1, 2]))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(embeddings.grad).all()


def test_label_smoothing_spreads_its_share_over_all_classes_and_is_off_by_default():
    generator = torch.Generator().manual_seed(0)
    points, labels = torch.randn(6, 3, generator=generator, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 1])
    plain, smooth = (SoftmaxLoss(4, 3, label_smoothing=share).double() for share in (0.0, 0.2))
    smooth.load_state_dict(plain.state_dict())
    expected = 0.0
    for point, label in zip(points, labels, strict=True):
        logits = [(plain.weight[j] @ point + plain.bias[j]).item() for j in range(4)]
        logs = [logit - math.log(sum(math.exp(other) for other in logits)) for logit in logits]
        expected -= 0.8 * logs[label] + 0.2 * sum(logs) / 4
    assert smooth(points, labels).item() == pytest.approx(expected / 6, rel=1e-12)
    reference = torch.nn.functional.cross_entropy(plain.logits(points), labels)
    assert plain(points, labels).item() == reference.item()  # the same bits


def test_label_smoothing_is_searched_only_where_an_experiment_asks():
    recipe = make_recipe("softmax", "softmax", Training())
    assert set(recipe.searched) == {"lr"}
    asked, mistakes = with_params(recipe, {"label_smoothing": {"low": 0.0, "high": 0.2}})
    assert not mistakes
    assert set(asked.searched) == {"lr", "label_smoothing"}
    assert with_params(recipe, {"label_smoothing": 1.0})[1] == [("label_smoothing", "1.0 is outside [0, 0.999]")]

"""The catalogue is complete against the installed pytorch-metric-learning, and adapters keep the library's values."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import itertools
import math
from pathlib import Path

import pytest
import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning.regularizers import SparseCentersRegularizer

from lossbench.losses import tuplets
from lossbench.losses.catalogue import NOT_IN_CATALOGUE
from lossbench.losses.library import (
    DynamicSoftMarginLoss,
    HistogramLoss,
    P2SGradLoss,
    ProxyNCALoss,
    SafeCosine,
    SmoothAPLoss,
    WithinClassRegularizer,
)
from lossbench.losses.options import CrossBatchMemory
from lossbench.plugins import Problem, registry
from lossbench.specification.recipes import make_recipe
from lossbench.specification.training_settings import Training

LOSSES = [registry.find("loss", name) for name in registry.names("loss")]


def build(plugin, classes=5, dim=4, **params):
    torch.manual_seed(0)
    problem = Problem(num_classes=classes, embedding_dim=dim, generator=torch.Generator().manual_seed(0))
    return plugin.build(problem, **{**plugin.defaults, **params})


def batch(size=20, classes=5, dim=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(size, dim, generator=generator, dtype=torch.float64)
    return embeddings, torch.randint(classes, (size,), generator=generator)


def library_classes(module):
    """Names of the library's losses that a loss is made of, subclasses included."""
    return {
        base.__name__
        for part in module.modules()
        for base in type(part).__mro__
        if base.__module__.startswith("pytorch_metric_learning.losses")
    }


def test_every_loss_of_the_library_is_in_the_catalogue_or_excluded_with_a_reason():
    offered = {name for name, value in vars(pml).items() if inspect.isclass(value)}
    built = set().union(*(library_classes(build(plugin)) for plugin in LOSSES))
    missing = offered - built - NOT_IN_CATALOGUE.keys()
    assert not missing, f"neither in lossbench/losses/catalogue nor in NOT_IN_CATALOGUE: {sorted(missing)}"
    assert NOT_IN_CATALOGUE.keys() <= offered
    assert all(NOT_IN_CATALOGUE.values())


def test_the_excluded_instance_loss_does_depend_on_the_order_of_the_batch():
    embeddings, labels = batch()
    order = torch.arange(19, -1, -1)
    loss = pml.InstanceLoss()
    assert loss(embeddings, labels).item() != pytest.approx(loss(embeddings[order], labels[order]).item(), rel=1e-3)


def test_the_page_of_losses_is_what_they_declare():
    path = Path(__file__).parents[2] / "docs" / "make_losses.py"
    spec = importlib.util.spec_from_file_location("make_losses", path)
    make_losses = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_losses)
    assert make_losses.PAGE.read_text() == make_losses.page(), "run: python docs/make_losses.py"
    for plugin in LOSSES:
        assert f"| `{plugin.name}` |" in make_losses.page()


@pytest.mark.parametrize("plugin", LOSSES, ids=lambda plugin: plugin.name)
def test_every_loss_says_where_it_comes_from_and_is_a_recipe_by_its_name(plugin):
    assert plugin.source
    assert plugin.summary
    recipe = make_recipe(plugin.name, plugin.name, Training())
    assert recipe.terms(recipe.defaults)[0].loss == plugin.name
    assert build(plugin).double()(*batch()).ndim == 0


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (tuplets.NTXentLoss(temperature=0.5), pml.NTXentLoss(temperature=0.5)),
        (tuplets.TupletMarginLoss(scale=8.0, distance=SafeCosine()), pml.TupletMarginLoss(scale=8.0)),
        (tuplets.LiftedStructureLoss(neg_margin=0.8), pml.LiftedStructureLoss(neg_margin=0.8)),
        (HistogramLoss(n_bins=50), pml.HistogramLoss(n_bins=50)),
    ],
    ids=["ntxent", "tuplet-margin", "lifted", "histogram"],
)
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_the_quadratic_forms_have_the_values_and_gradients_of_the_library(ours, theirs):
    for seed in range(3):
        embeddings, labels = batch(seed=seed)
        one, other = embeddings.clone().requires_grad_(), embeddings.clone().requires_grad_()
        value, expected = ours(one, labels), theirs(other, labels)
        assert value.item() == pytest.approx(expected.item(), rel=1e-6)
        value.backward()
        expected.backward()
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["ntxent", "tuplet-margin", "lifted", "histogram"])
@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3], [0]])
def test_a_batch_without_pairs_of_both_kinds_costs_nothing(name, labels):
    embeddings = torch.randn(len(labels), 4, requires_grad=True)
    value = build(registry.find("loss", name))(embeddings, torch.tensor(labels))
    value.backward()
    assert value.item() == 0.0
    assert not embeddings.grad.any()


def test_memory_compares_with_every_remembered_embedding_but_itself():
    loss = CrossBatchMemory(pml.ContrastiveLoss(neg_margin=0.8), 4, size=12)
    seen: list[tuple[torch.Tensor, int]] = []
    for step in range(4):  # 5 a batch: the third call overwrites the oldest rows
        embeddings, labels = batch(size=5, seed=step)
        embeddings = embeddings.float()
        seen = [*seen, *zip(embeddings, labels.tolist(), strict=True)][-12:]
        positives, negatives = [], []
        for i, (x, y) in enumerate(zip(embeddings, labels.tolist(), strict=True)):
            for j, (z, c) in enumerate(seen):
                if j == len(seen) - 5 + i:
                    continue
                distance = (torch.nn.functional.normalize(x, dim=0) - torch.nn.functional.normalize(z, dim=0)).norm()
                (positives if y == c else negatives).append(
                    max(0.0, distance.item()) if y == c else max(0.0, 0.8 - distance.item())
                )
        expected = sum(sum(values) / max(1, sum(v > 0 for v in values)) for values in (positives, negatives))
        assert loss(embeddings, labels).item() == pytest.approx(expected, rel=1e-5)


def test_memory_has_the_values_of_the_library():
    ours = CrossBatchMemory(pml.MultiSimilarityLoss(), 4, size=16)
    theirs = pml.CrossBatchMemory(pml.MultiSimilarityLoss(), 4, memory_size=16)
    for step in range(5):
        embeddings, labels = batch(size=6, seed=step)
        assert ours(embeddings.float(), labels).item() == pytest.approx(theirs(embeddings.float(), labels).item())


def test_memory_is_put_back_with_the_state_and_stands_still_in_evaluation():
    loss = CrossBatchMemory(pml.ContrastiveLoss(), 4, size=16)
    for step in range(3):
        loss(*batch(size=6, seed=step))
    other = CrossBatchMemory(pml.ContrastiveLoss(), 4, size=16)
    other.load_state_dict(copy.deepcopy(loss.state_dict()))
    assert loss(*batch(seed=9, size=6)).item() == other(*batch(seed=9, size=6)).item()
    before = copy.deepcopy(loss.state_dict())
    loss.eval()(*batch(size=6))
    assert all(torch.equal(value, before[key]) for key, value in loss.state_dict().items())


def test_a_batch_larger_than_the_memory_is_refused():
    with pytest.raises(ValueError, match="memory: 8 is smaller than the batch of 20"):
        CrossBatchMemory(pml.ContrastiveLoss(), 4, size=8)(*batch())


@pytest.mark.parametrize("plugin", [p for p in LOSSES if "memory" in p.space], ids=lambda plugin: plugin.name)
def test_every_loss_with_the_option_trains_against_a_memory(plugin):
    module = build(plugin, memory=64)
    for step in range(4):
        embeddings, labels = batch(seed=step)
        points = embeddings.float().requires_grad_()
        module(points, labels).backward()
        assert points.grad.isfinite().all()
        assert points.grad.any()


@pytest.mark.parametrize(
    ("name", "miner"), [(p.name, option) for p in LOSSES if "miner" in p.space for option in p.space["miner"].options]
)
def test_every_miner_trains(name, miner):
    embeddings, labels = batch()
    points = embeddings.float().requires_grad_()
    build(registry.find("loss", name), miner=miner)(points, labels).backward()
    assert points.grad.isfinite().all()


def test_smooth_average_precision_by_loops():
    embeddings = batch(size=9)[0]
    labels = torch.tensor([4, 0, 1, 1, 0, 2, 2, 2, 0])  # the first is alone in its class: ranked, but no query
    cosines = torch.nn.functional.normalize(embeddings) @ torch.nn.functional.normalize(embeddings).T
    losses = []
    for i in range(9):
        own = [j for j in range(9) if labels[j] == labels[i]]
        if len(own) == 1:
            continue
        precisions = []
        for j in own:
            steps = {k: 1 / (1 + math.exp(-float(cosines[i, k] - cosines[i, j]) / 0.1)) for k in range(9) if k != j}
            precisions.append((1 + sum(steps[k] for k in own if k != j)) / (1 + sum(steps.values())))
        losses.append(1 - sum(precisions) / len(precisions))
    assert len(losses) == 8
    assert SmoothAPLoss(temperature=0.1)(embeddings, labels).item() == pytest.approx(sum(losses) / 8, rel=1e-9)


def test_smooth_average_precision_is_the_librarys_where_that_groups_the_batch_rightly():
    """With as many classes as samples of each, sorted by class."""
    embeddings, labels = batch(size=9)[0].float(), torch.arange(9) // 3
    expected = pml.SmoothAPLoss()(embeddings, labels)
    assert SmoothAPLoss()(embeddings, labels).item() == pytest.approx(expected.item(), rel=1e-5)


def test_neighborhood_components_without_a_pair_cost_nothing():
    points = torch.randn(3, 4, requires_grad=True)
    build(registry.find("loss", "nca"))(points, torch.arange(3)).backward()
    assert not points.grad.any()


@pytest.mark.parametrize("memory", [0, 40])
def test_snr_contrastive_has_the_value_of_the_library_and_leaves_out_anchors_without_variance(memory):
    margins = {"pos_margin": 0.1, "neg_margin": 1.25}
    plugin = registry.find("loss", "snr-contrastive")
    embeddings, labels = batch()
    theirs = pml.SignalToNoiseRatioContrastiveLoss(**margins)
    theirs = CrossBatchMemory(theirs, 4, memory) if memory else theirs
    assert build(plugin, memory=memory, **margins)(embeddings, labels).item() == theirs(embeddings, labels).item()

    for row in (torch.zeros(4), torch.full((4,), 0.1)):
        embeddings[3] = row
        unit = torch.nn.functional.normalize(embeddings)
        positive, negative = [], []
        for i, j in itertools.permutations(range(20), 2):
            if i != 3:
                distance = ((unit[i] - unit[j]).var() / unit[i].var()).item()
                same = labels[i] == labels[j]
                (positive if same else negative).append(max(0.0, distance - 0.1 if same else 1.25 - distance))
        expected = sum(sum(part) / sum(value > 0 for value in part) for part in (positive, negative))
        points = embeddings.clone().requires_grad_()
        value = build(plugin, memory=memory, **margins)(points, labels)
        assert value.item() == pytest.approx(expected, rel=1e-6)
        value.backward()
        assert points.grad.isfinite().all()


def test_dynamic_soft_margin_trains_more_than_one_step_and_weighs_by_the_share_of_easier_triplets():
    loss = DynamicSoftMarginLoss(num_bins=4, momentum=1.0)
    labels = torch.tensor([0, 0, 1])
    # On the circle: the triplets are (a, b, c) with d_ap - d_an = 0 - 2 and 0 - 2, in the lowest bin.
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    assert loss(embeddings, labels).item() == pytest.approx(-2.0)  # every triplet is as easy: weight 1
    assert loss.hist_.tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]
    hard = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    for _ in range(2):
        loss(hard, labels).backward()  # a difference of +2 lies on the last edge
    assert loss.hist_.tolist() == [0.0, 0.0, 0.5, 0.0, 0.5]


def test_p2sgrad_has_the_value_of_the_library():
    ours, theirs = P2SGradLoss(4, 5), pml.P2SGradLoss(4, 5)
    ours.load_state_dict(theirs.state_dict())
    embeddings, labels = batch()
    assert ours(embeddings.float(), labels).item() == pytest.approx(theirs(embeddings.float(), labels).item(), rel=1e-5)


def test_the_regularizer_of_soft_triple_has_the_value_and_gradient_of_the_library():
    weights = torch.randn(15, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    one, other = weights.clone().requires_grad_(), weights.clone().requires_grad_()
    value, expected = WithinClassRegularizer(5, 3)(one), SparseCentersRegularizer(5, 3)(other)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    value.backward()
    expected.backward()
    torch.testing.assert_close(one.grad, other.grad)


def test_the_head_of_proxy_nca_prefers_the_nearest_proxy():
    loss = ProxyNCALoss(3, 2, softmax_scale=4.0)
    with torch.no_grad():
        loss.proxies.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    assert loss.logits(torch.tensor([[0.1, 2.0]])).argmax(1).tolist() == [1]


def test_equal_embeddings_have_an_angle_with_a_gradient():
    points = torch.ones(4, 3, requires_grad=True)
    torch.acos(SafeCosine()(points)).sum().backward()
    assert points.grad.isfinite().all()

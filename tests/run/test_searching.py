"""Of a large split a fixed sample of the queries asks all of it, and everybody who reads a figure is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments import DIGITS_OPEN, sweep, tiny_plan
from lossbench import metrics, report
from lossbench.datasets.dataset import BOTH, DISTRACTOR, GALLERY, QUERY
from lossbench.report.evidence.material import gather
from lossbench.report.sections import setting
from lossbench.run.searching import map_at_r_without_classes, nearest, retrieval, roles_from, sample_that_asks
from lossbench.specification import primary
from lossbench.store import Store
from lossbench.sweep import dry_run

COUNT, ASKING = 90, 25


@pytest.fixture
def few(monkeypatch):
    """So few comparisons that a split of COUNT samples is a large one."""
    monkeypatch.setattr(primary, "FEWEST_QUERIES", 1)
    monkeypatch.setattr(primary, "COMPARISONS", COUNT * ASKING)


def points():
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(9), 10)
    found = draw.normal(size=(COUNT, 5)) + draw.normal(size=(9, 5))[labels]
    return torch.from_numpy(found), torch.from_numpy(labels)


def with_roles():
    """A third asks, a third is asked, the rest does both, and some are of nobody."""
    roles = np.array([QUERY, GALLERY, BOTH])[np.arange(COUNT) % 3]
    roles[:5] = DISTRACTOR
    return roles_from(roles, np.arange(COUNT) % 4)


def test_all_of_a_published_test_set_ask():
    for samples in (13_180, 60_502):  # Omniglot, Stanford Online Products
        assert sample_that_asks(samples, samples) is None


def test_a_fixed_sample_of_a_large_one_does(few):
    rows = sample_that_asks(COUNT, COUNT)
    assert len(rows) == ASKING == len(set(rows.tolist()))
    assert rows.tolist() == sorted(rows.tolist()) == sample_that_asks(COUNT, COUNT).tolist()
    assert rows.tolist() != list(range(ASKING))


def test_all_figures_are_those_of_the_same_queries_in_the_whole_gallery(few):
    samples, labels = points()
    asking = sample_that_asks(COUNT, COUNT)
    found = retrieval(samples, labels, None)
    assert found.pop("queries_sampled") == ASKING
    assert found == metrics.retrieval_metrics(samples, labels, asking=asking)
    asked, neighbor, away = nearest(samples, labels, None)
    assert torch.equal(asked, asking)
    assert torch.equal(neighbor, metrics.nearest_neighbours(samples, labels, 1)[0][asking, 0])
    torch.testing.assert_close(away, torch.linalg.vector_norm(samples[asked] - samples[neighbor], dim=1))
    without = map_at_r_without_classes(samples, labels, None)
    assert torch.equal(without, metrics.map_at_r_without(samples, labels, labels, asking=asking))


def test_so_they_are_where_samples_have_roles(few):
    samples, labels = points()
    roles = with_roles()
    whole = metrics.retrieval_metrics(
        samples[roles.asks], labels[roles.asks], gallery=samples[roles.stands],
        gallery_labels=labels.index_fill(0, roles.strays, -1)[roles.stands], groups=roles.groups[roles.asks],
        gallery_groups=roles.groups[roles.stands],
        places=torch.searchsorted(roles.stands, roles.asks).where(torch.isin(roles.asks, roles.stands), -1),
    )  # fmt: skip
    found = retrieval(samples, labels, roles)
    assert found.pop("queries_sampled") == COUNT * ASKING // len(roles.stands) < len(roles.asks)
    assert found.keys() == whole.keys()
    assert found != whole
    assert len(nearest(samples, labels, roles)[0]) <= COUNT * ASKING // len(roles.stands)


@pytest.mark.slow
def test_run_dry_run_and_report_say_how_many(few, tmp_path, monkeypatch):
    monkeypatch.setattr(primary, "COMPARISONS", 714 * 99)
    plan = tiny_plan(DIGITS_OPEN, 'recipes=["softmax"]', "claims=[]")
    assert "; 99 samples of test, drawn once, ask all of it; " in dry_run.describe(plan, Store(tmp_path / "runs"), 0)
    store, _ = sweep(plan, tmp_path / "runs")
    table = store.table(store.read_plan("ablation"))
    finals = table[table["role"].isin(["final", "baseline"])]
    assert set(finals["test.sphere.queries_sampled"]) == set(finals["test.euclidean.queries_sampled"]) == {99.0}
    material = gather("ablation", tmp_path / "runs")
    assert setting.data(material, material.tasks[0]).endswith("714 samples, of which 99 ask all of them")
    list(report.write("ablation", tmp_path / "runs", tmp_path / "reports"))
    assert "of which 99 ask all of them" in (tmp_path / "reports" / "ablation" / "index.html").read_text()


def test_a_dry_run_leaves_it_to_the_roles_where_there_is_a_gallery(few, tmp_path):
    plan = tiny_plan('tasks=[{dataset="glyphs", protocol="query-gallery"}]', 'recipes=["softmax"]', "claims=[]")
    assert "drawn once" not in dry_run.describe(plan, Store(tmp_path / "runs"), 0)

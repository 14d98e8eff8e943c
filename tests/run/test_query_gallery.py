"""Queries against a gallery end to end: who asks whom in a run, what its figures are, and its report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from gallery_loops import FIGURES, by_loops

from experiments import run_spec, sweep, tiny_plan
from lossbench import report
from lossbench.datasets import load
from lossbench.report.evidence.comparisons import PRIMARY, Evidence
from lossbench.report.evidence.material import gather
from lossbench.report.sections import quality
from lossbench.run.data import TaskData, forget, task_data, with_label_noise
from lossbench.run.execution import RunResult, execute
from lossbench.run.kept import worst_errors
from lossbench.specification.spec import RunSpec

PEOPLE, CAMERAS, EACH = 30, 3, 2
SMALL = ("backbone=linear", "training.batch_size=16", "training.samples_per_class=4", "training.epochs=2")


def written(folder) -> str:
    """Thirty people by three cameras, each with a shift of its own; ten are tested, with distractors and junk."""
    draw = np.random.default_rng(0)
    person = np.repeat(np.arange(PEOPLE), CAMERAS * EACH)
    camera = np.tile(np.repeat(np.arange(CAMERAS), EACH), PEOPLE)
    role = np.where(np.tile(np.arange(EACH), PEOPLE * CAMERAS) == 0, "query", "gallery").astype("<U10")
    role[person < 20] = "both"
    stray, junk = ["distractor"] * 40, ["junk"] * 5
    labels = np.concatenate([person, draw.integers(20, 30, 40), np.full(5, 20)])  # distractors in the names of people
    camera = np.concatenate([camera, draw.integers(0, CAMERAS, 45)])
    centers, shifts = draw.normal(size=(PEOPLE, 6)), draw.normal(size=(CAMERAS, 6))
    features = (centers[labels] + shifts[camera] + 0.5 * draw.normal(size=(len(labels), 6))).astype(np.float32)
    np.savez(
        folder / "people.npz",
        features=features,
        labels=labels,
        group=camera,
        role=np.concatenate([role, stray, junk]),
        split=np.where(labels < 20, "train", "test"),
        id=np.arange(len(labels)),
    )
    return f"features:{folder / 'people.npz'}"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> str:
    return written(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def spec(place) -> RunSpec:
    forget()
    return run_spec("softmax", f'tasks=[{{dataset="{place}", protocol="query-gallery"}}]', *SMALL)


@pytest.fixture(scope="module")
def data(spec) -> TaskData:
    return task_data(spec)


@pytest.fixture(scope="module")
def result(spec) -> RunResult:
    return execute(spec)


def test_who_takes_part(place, data):
    known = load(place)
    names = {part: np.array([int(name) for name in getattr(data, part).names]) for part in ("train", "val", "test")}
    people = {part: set(known.labels[rows].tolist()) for part, rows in names.items()}
    assert not people["train"] & people["val"]
    assert people["test"] == set(range(20, 30))
    assert people["train"] | people["val"] == set(range(20))
    assert len(names["test"]) == 10 * CAMERAS * EACH + 40  # no junk
    roles = data.test.roles
    assert [len(each) for each in (roles.asks, roles.stands, roles.strays)] == [30, 30 + 40, 40]
    assert set(known.roles[names["test"][roles.asks]]) == {0}
    assert data.test_names == (*map(str, range(20, 30)), "distractor")
    assert (data.test.labels[roles.strays] == 10).all()
    assert data.train.roles is None
    val = data.val.roles
    assert torch.equal(val.asks, val.stands)
    assert len(val.asks) == len(data.val.labels)


def brute(embeddings: np.ndarray, split, known) -> dict[str, float]:
    """The figures of a split by loops, from the data set's own columns and nothing that the run made of them."""
    rows = np.array([int(name) for name in split.names])
    roles, labels, groups = known.roles[rows], known.labels[rows].copy(), known.groups[rows]
    if not (roles == 0).any():  # validation is dealt among people who train
        roles = np.full(len(rows), 2)
    labels[roles == 3] = -1
    asks, stands = np.flatnonzero(np.isin(roles, (0, 2))), np.flatnonzero(np.isin(roles, (1, 2, 3)))
    places = np.array([int(np.flatnonzero(stands == row)[0]) if row in stands else -1 for row in asks])
    found = by_loops(
        embeddings[asks], labels[asks], embeddings[stands], labels[stands], groups[asks], groups[stands], places
    )
    assert found is not None
    return found


def test_figures_follow_from_the_stored_embeddings(place, spec, data, result):
    known, scores = load(place), result.record["metrics"]["test"]
    points = result.arrays["embeddings"].astype(np.float64)
    for space in ("euclidean", "sphere"):
        shown = points / np.linalg.norm(points, axis=1, keepdims=True) if space == "sphere" else points
        expected = brute(shown, data.test, known)
        assert {name: scores[f"{space}.{name}"] for name in FIGURES} == pytest.approx(expected, abs=1e-9)
    assert not any("recall" in name or "auc" in name or "few_shot" in name for name in scores)
    short = execute(replace(spec, whole=False)).record["metrics"]["test"]
    assert {name: short[f"sphere.{name}"] for name in FIGURES} == {name: scores[f"sphere.{name}"] for name in FIGURES}


def test_validation_is_searched_by_the_same_rule(place, spec, data):
    raw = replace(spec, backbone="features", terms=())  # a baseline: the vectors as they are
    score = execute(raw).record["metrics"]["val"]["sphere.map_at_r"]
    points = data.val.images[:].numpy().astype(np.float64)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    assert score == pytest.approx(brute(points, data.val, load(place))["map_at_r"], abs=1e-9)
    labels = data.val.labels.numpy()
    blind = by_loops(points, labels, points, labels, places=np.arange(len(points)))  # no camera is left out
    assert abs(score - blind["map_at_r"]) > 0.05


def test_distances_are_of_samples_that_have_a_class(data, result):
    known = data.test.roles.classed.numpy()
    points, labels = result.arrays["embeddings"][known].astype(np.float64), data.test.labels.numpy()[known]
    means = np.stack([points[labels == label].mean(0) for label in range(10)])
    intra = np.linalg.norm(points - means[labels], axis=1).mean()
    assert result.record["metrics"]["test"]["euclidean.intra_mean"] == pytest.approx(intra)
    assert len(result.arrays["classes.sphere.count"]) == 10


def test_deleting_a_class_keeps_the_distractors(place, data, result):
    points = result.arrays["embeddings"].astype(np.float64)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    labels, roles = data.test.labels.numpy(), data.test.roles
    groups = roles.groups.numpy()
    expected = []
    for label in range(10):
        asks, stands = (rows.numpy()[labels[rows.numpy()] != label] for rows in (roles.asks, roles.stands))
        found = by_loops(points[asks], labels[asks], points[stands], labels[stands], groups[asks], groups[stands])
        expected.append(found["map_at_r"])
    assert result.arrays["jackknife.sphere.map_at_r"].tolist() == pytest.approx(expected, abs=1e-9)


def test_mistakes_are_of_queries_and_of_what_their_ranking_holds(data, result):
    points, split = torch.from_numpy(result.arrays["embeddings"]), data.test
    unit = torch.nn.functional.normalize(points.double())
    away = torch.cdist(unit, unit)
    wrong = {}
    for row in split.roles.asks.tolist():
        left = [
            other
            for other in split.roles.stands.tolist()
            if (split.labels[other], split.roles.groups[other]) != (split.labels[row], split.roles.groups[row])
        ]
        first = min(left, key=lambda other: float(away[row, other]))
        if split.labels[first] != split.labels[row]:
            wrong[split.names[row]] = split.names[first]
    found = worst_errors(points, split)
    assert len(found["errors.names"]) == min(12, len(wrong)) > 0
    assert all(wrong[asked] == answer for asked, answer in found["errors.names"])
    assert np.all(np.diff(found["errors.distance"]) >= 0)


def test_wrong_labels_reach_no_query_of_test_and_make_no_distractor_a_match(spec, data):
    task = spec.task.model_copy(update={"label_noise": 0.5})
    noisy = with_label_noise(data, replace(spec, task=task))
    assert not torch.equal(noisy.val.labels, data.val.labels)
    assert noisy.test is data.test


def test_groups_are_part_of_a_run_under_this_protocol_only(place, spec):
    known = load(place)
    assert spec.provenance.data != known.checksum
    other = run_spec("softmax", f'tasks=[{{dataset="{place}", protocol="open-set"}}]', *SMALL)
    assert other.provenance.data == known.checksum


@pytest.mark.slow
def test_an_experiment_runs_to_its_report(place, tmp_path):
    asked = f'tasks=[{{dataset="{place}", protocol="query-gallery"}}]'
    sweep(tiny_plan(asked, *SMALL, 'recipes=["softmax", "softmax+center"]', "budget.studies=4"), tmp_path)
    material = gather("ablation", tmp_path)
    (task,) = material.tasks
    scores = material.values(task, "softmax", PRIMARY)
    assert len(scores) == 4
    assert all(0 < score < 1 for score in scores.values())
    shown = quality.table(Evidence(material), task)
    headers = [column.header for column in shown.columns]
    for label in ("mAP", "CMC@1", "CMC@5", "CMC@10"):
        assert any(header.startswith(label) for header in headers)
    assert not any(header.startswith(("P@1", "R@2", "ROC", "5-way")) for header in headers)
    *_, page = report.write("ablation", tmp_path, tmp_path / "reports")
    text = (tmp_path / "reports" / "ablation" / "report.md").read_text()
    assert "on these queries and this gallery of classes which no training saw" in text
    assert page

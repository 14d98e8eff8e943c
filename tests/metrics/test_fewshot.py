from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lossbench.metrics import few_shot_accuracy
from lossbench.metrics.fewshot import _episodes, _score


def draw(noise: float, dimension: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(12) * 7 - 20, 20))
    centers = {c: rng.normal(size=dimension) for c in np.unique(labels)}
    return np.array([centers[c] for c in labels]) + noise * rng.normal(size=(240, dimension)), labels


def test_equals_loops_over_the_episodes(monkeypatch):
    points, labels = draw(1.0)
    monkeypatch.setattr("lossbench.metrics.fewshot._CHUNK_ELEMENTS", 20_000)  # several blocks of episodes
    found = few_shot_accuracy(points, labels, ways=5, shots=3, queries=4, episodes=50, seed=9)
    scores = []
    for episode in _episodes(tuple(labels.tolist()), 5, 7, 50, 9)[0].numpy():
        prototypes = [points[row[:3]].mean(0) for row in episode]
        named = [[min(range(5), key=lambda c: math.dist(points[i], prototypes[c])) for i in row[3:]] for row in episode]
        scores.append(np.mean(np.array(named) == np.arange(5)[:, None]))
    assert found["accuracy"] == pytest.approx(np.mean(scores), rel=1e-12)
    assert found["half_width_95"] == pytest.approx(1.96 * np.std(scores, ddof=1) / math.sqrt(50), rel=1e-12)
    assert found["classes"] == 12.0


def test_episodes_are_balanced_and_without_repetition():
    labels = torch.tensor(draw(1.0)[1])
    drawn, classes = _episodes(tuple(labels.tolist()), 5, 6, 300, 0)
    assert classes == 12
    assert all(len(set(episode.flatten().tolist())) == 30 for episode in drawn)
    assert (labels[drawn] == labels[drawn][:, :, :1]).all()
    assert all(len(set(labels[episode[:, 0]].tolist())) == 5 for episode in drawn)
    shares = torch.bincount(drawn.flatten(), minlength=240) / 300  # each sample: 5/12 * 6/20
    assert (abs(shares - 0.125) < 0.1).all()


def test_episodes_are_fixed_by_the_seed_whatever_the_embeddings():
    points, labels = draw(1.0)
    settings = {"ways": 5, "shots": 1, "queries": 5, "episodes": 100}
    first = few_shot_accuracy(points, labels, **settings)
    assert few_shot_accuracy(points, labels, **settings) == first
    assert few_shot_accuracy(points * 4, labels, **settings) == first
    assert few_shot_accuracy(torch.tensor(points), torch.tensor(labels), **settings) == first
    assert few_shot_accuracy(points, labels, **settings, seed=1) != first
    state = torch.get_rng_state()
    few_shot_accuracy(points, labels, **settings)
    assert torch.equal(torch.get_rng_state(), state)


def test_easy_hopeless_and_collapsed_embeddings():
    labels = draw(0.0)[1]
    settings = {"ways": 4, "shots": 2, "queries": 10, "episodes": 200}
    assert few_shot_accuracy(draw(1e-6)[0], labels, **settings)["accuracy"] == 1.0
    noise = np.random.default_rng(1).normal(size=(240, 8))
    hopeless = few_shot_accuracy(noise, labels, **settings)
    assert abs(hopeless["accuracy"] - 0.25) < 0.03
    assert 0 < hopeless["half_width_95"] < 0.02
    assert few_shot_accuracy(np.full((240, 8), 0.1), labels, **settings)["accuracy"] == 0.0


def test_a_tie_is_a_miss_whichever_way_it_rounds():
    for shots in ((0.1, 0.3), (0.3, 0.1)):  # 0.2 lies midway, but 0.3 - 0.2 < 0.2 - 0.1 in floating point
        own, other = shots
        episode = torch.tensor([[[own, 0.2], [other, other]]], dtype=torch.float64)[..., None]
        assert _score(episode, 1).tolist() == [0.5]


def test_more_shots_help():
    points, labels = draw(1.5)
    settings = {"ways": 5, "queries": 5, "episodes": 200}
    one, ten = (few_shot_accuracy(points, labels, shots=s, **settings)["accuracy"] for s in (1, 10))
    assert ten > one + 0.05


def test_small_classes_are_left_out_and_counted():
    labels = np.repeat([0, 1, 2, 3], [20, 20, 19, 5])
    points = np.random.default_rng(0).normal(size=(64, 3))
    found = few_shot_accuracy(points, labels, ways=2, shots=5, episodes=5)
    assert found["classes"] == 2.0
    assert set(labels[_episodes(tuple(labels.tolist()), 2, 20, 30, 0)[0]].ravel()) == {0, 1}
    with pytest.raises(
        ValueError, match=r"labels: 2 of 4 classes have the 20 samples \(shots \+ queries\).* 3 ways need at least 3"
    ):
        few_shot_accuracy(points, labels, ways=3, shots=5)


@pytest.mark.parametrize(
    ("name", "value", "least"), [("ways", 1, 2), ("shots", 0, 1), ("queries", 0, 1), ("episodes", 1, 2)]
)
def test_arguments_out_of_range_are_named(name, value, least):
    settings = {"ways": 2, "shots": 1, "queries": 1, "episodes": 2} | {name: value}
    with pytest.raises(ValueError, match=f"{name}: {value} is below {least}"):
        few_shot_accuracy(np.zeros((4, 1)), np.zeros(4, int), **settings)

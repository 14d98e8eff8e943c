from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_auc_score, roc_curve

from lossbench.metrics import (
    accuracy_at,
    best_threshold,
    pair_scores,
    pair_verification,
    repeated_class_pairs,
    verification_metrics,
)


def test_golden_values(golden):
    found = verification_metrics(*pair_scores(golden["embeddings"], golden["labels"]))
    for name, value in golden["verification"].items():
        assert math.isnan(found[name]) if value is None else found[name] == pytest.approx(value, rel=1e-12)
    assert set(found) == {
        "auc", "eer", "tar_at_far_0.1", "tar_at_far_0.01", "tar_at_far_0.001", "tar_at_far_0.0001"
    }  # fmt: skip


def test_distances_at_hand_give_the_figures_of_their_scores():
    rng = np.random.default_rng(3)
    labels = np.arange(60) % 6
    points = rng.normal(size=(60, 3)) + labels[:, None]
    assert pair_verification(repeated_class_pairs(points, labels)) == verification_metrics(*pair_scores(points, labels))
    with pytest.raises(ValueError, match="genuine and impostor"):
        pair_verification(repeated_class_pairs(points, np.zeros(60, dtype=int)))


def draw(seed: int, count: int, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties: integers in a few levels, somewhat higher for genuine pairs."""
    rng = np.random.default_rng(seed)
    same = rng.random(count) < 0.3
    return np.floor(rng.normal(size=count) * levels + same * levels), same


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 400), st.sampled_from([1, 3, 1000]))
def test_area_and_equal_error_rate_equal_scikit_learn_and_scipy(seed, count, levels):
    scores, same = draw(seed, count, levels)
    assume(same.any() and not same.all())
    found = verification_metrics(scores, same)
    assert found["auc"] == pytest.approx(roc_auc_score(same, scores), abs=1e-12)
    far, tar, _ = roc_curve(same, scores, drop_intermediate=False)
    along = interp1d(np.arange(len(far)), np.stack([far, tar]))
    crossing = brentq(lambda t: 1 - along(t)[1] - along(t)[0], 0, len(far) - 1, xtol=1e-14)
    assert found["eer"] == pytest.approx(float(along(crossing)[0]), abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 50, 100_000]))
def test_accept_rates_equal_a_search_over_all_thresholds(seed, levels):
    scores, same = draw(seed, 3000, levels)
    found = verification_metrics(scores, same)
    for target in (0.1, 0.01):
        allowed = [t for t in [*np.unique(scores), np.inf] if np.mean(scores[~same] >= t) <= target]
        expected = np.mean(scores[same] >= min(allowed))
        assert found[f"tar_at_far_{target}"] == pytest.approx(expected, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_order_and_monotone_maps_do_not_matter(seed):
    scores, same = draw(seed, 200, 5)
    found = verification_metrics(scores, same)
    order = np.random.default_rng(seed).permutation(200)
    moved = verification_metrics(torch.tensor(np.exp(scores / 50)[order]), torch.tensor(same[order]))
    assert moved == pytest.approx(found, rel=1e-12, nan_ok=True)
    swapped = verification_metrics(-scores, ~same)
    assert (swapped["auc"], swapped["eer"]) == (pytest.approx(found["auc"]), pytest.approx(found["eer"]))


@pytest.mark.parametrize("exponent", [1, 2, 3, 4])
def test_accept_rates_at_the_edges_of_their_rules(exponent):
    # 10^e * 10 impostors: at FAR 10^-e exactly ten may pass; one impostor fewer cannot resolve the rate.
    impostors = 10 * 10**exponent
    name = f"tar_at_far_{float(f'1e-{exponent}')}"
    scores = np.concatenate([-np.arange(impostors) * 2.0, [1.0, -17.0, -19.0, -21.0]])
    same = np.arange(len(scores)) >= impostors
    assert verification_metrics(scores, same)[name] == 0.75  # the tenth impostor is at -18, the eleventh at -20
    assert math.isnan(verification_metrics(scores[1:], same[1:])[name])
    tied = np.concatenate([np.zeros(impostors), [1.0, 0.0]])
    assert verification_metrics(tied, np.arange(len(tied)) >= impostors)[name] == 0.5  # ties pass together


def test_perfect_reversed_and_constant_scores():
    same = np.arange(400) < 200
    perfect = verification_metrics(same.astype(float), same)
    assert (perfect["auc"], perfect["eer"], perfect["tar_at_far_0.1"]) == (1.0, 0.0, 1.0)
    reversed_ = verification_metrics(-same.astype(float), same.astype(int))
    assert (reversed_["auc"], reversed_["eer"], reversed_["tar_at_far_0.1"]) == (0.0, 1.0, 0.0)
    constant = verification_metrics(np.zeros(400), same)
    assert (constant["auc"], constant["eer"], constant["tar_at_far_0.1"]) == (0.5, 0.5, 0.0)


def test_scores_of_all_pairs(sample):
    points, labels = sample
    scores, same = pair_scores(points, labels)
    i, j = np.triu_indices(70, 1)
    expected = -np.linalg.norm(points[i] - points[j], axis=1)
    genuine = labels[i] == labels[j]
    assert len(scores) == 70 * 69 // 2
    np.testing.assert_allclose(np.sort(scores[same]), np.sort(expected[genuine]), rtol=1e-12)
    np.testing.assert_allclose(np.sort(scores[~same]), np.sort(expected[~genuine]), rtol=1e-12)


@pytest.mark.parametrize("dimension", [2, 5, 32, 67])
@pytest.mark.parametrize("max_pairs", [5_000_000, 1500])
def test_tied_pairs_of_both_kinds_stay_tied(dimension, max_pairs):
    # Every point stands once in each class, so that the two distributions over distinct points are the same.
    points = np.random.default_rng(dimension).normal(size=(30, dimension))
    scores, same = pair_scores(np.tile(points, (2, 1)), np.repeat([0, 1], 30), max_pairs=max_pairs)
    expected = np.sort(-np.linalg.norm(points[:, None] - points[None], axis=2)[np.triu_indices(30, 1)])
    levels = np.unique(scores)
    assert len(levels) <= 1 + 30 * 29 // 2, "a distance that rounds in two ways would make two levels"
    if max_pairs > len(scores):
        np.testing.assert_allclose(levels[:-1], expected, rtol=1e-12)
        assert np.array_equal(np.sort(scores[same]), np.repeat(levels[:-1], 2))


def test_sample_of_pairs_gives_nearly_the_same_figures():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 30, 600)
    points = rng.normal(size=(30, 8))[labels] + rng.normal(size=(600, 8))
    whole = verification_metrics(*pair_scores(points, labels))
    scores, same = pair_scores(points, labels, max_pairs=60_000)
    assert len(scores) == 60_000
    assert int(same.sum()) == sum(n * (n - 1) // 2 for n in np.bincount(labels))
    some = verification_metrics(scores, same)
    assert (some["auc"], some["eer"]) == (pytest.approx(whole["auc"], abs=3e-3), pytest.approx(whole["eer"], abs=3e-3))
    assert some["tar_at_far_0.01"] == pytest.approx(whole["tar_at_far_0.01"], abs=0.03)
    again = pair_scores(points, labels, max_pairs=60_000)
    assert torch.equal(again[0], scores)
    assert not torch.equal(pair_scores(points, labels, max_pairs=60_000, seed=1)[0], scores)
    with pytest.raises(ValueError, match="max_pairs: 1 is below 2"):
        pair_scores(points, labels, max_pairs=1)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.sampled_from([1, 3, 1000]))
def test_best_threshold_equals_a_search_over_all(seed, count, levels):
    scores, same = draw(seed, count, levels)
    threshold = best_threshold(scores, same)
    level = np.unique(scores)
    candidates = [*level, level[-1] + 1]
    best = max(np.mean((scores >= t) == same) for t in candidates)
    assert math.isfinite(threshold)
    assert accuracy_at(scores, same, threshold) == pytest.approx(best)
    highest = max(t for t in candidates if np.mean((scores >= t) == same) == best)
    assert np.array_equal(scores >= threshold, scores >= highest)


def test_threshold_between_neighboring_numbers_keeps_them_apart():
    low, high = 1.0, math.nextafter(1.0, 2.0)
    threshold = best_threshold(np.array([low, high]), np.array([0, 1]))
    assert accuracy_at(np.array([low, high]), np.array([0, 1]), threshold) == 1.0
    huge = best_threshold(np.array([1.7e308, 1.5e308]), np.array([1, 0]))
    assert 1.5e308 < huge < 1.7e308


def test_threshold_of_one_fold_serves_another():
    scores, same = draw(0, 2000, 100)
    threshold = best_threshold(scores[:1000], same[:1000])
    assert 0.7 < accuracy_at(scores[1000:], same[1000:], threshold) < 0.9


@pytest.mark.parametrize(
    ("scores", "same", "message"),
    [
        (np.zeros((2, 2)), np.zeros((2, 2)), r"scores: shape \(2, 2\) is not \(P,\)"),
        (np.zeros(0), np.zeros(0, bool), r"scores: shape \(0,\) is not \(P,\)"),
        (np.zeros(3), np.array([0, 1]), r"same: shape \(2,\) is not that of the scores, \(3,\)"),
        (np.zeros(3), np.array([0, 1, 2]), "same: values other than 0 and 1"),
        (np.array([0.0, np.nan]), np.array([0, 1]), "scores: nan is not finite"),
        (np.zeros(3), np.ones(3), "same: all 3 pairs are genuine; a ROC needs both kinds"),
        (np.zeros(3), np.zeros(3), "same: all 3 pairs are impostor; a ROC needs both kinds"),
    ],
)
def test_pairs_that_do_not_fit_are_named(scores, same, message):
    with pytest.raises(ValueError, match=message):
        verification_metrics(scores, same)


def test_a_threshold_must_be_a_number():
    with pytest.raises(ValueError, match="threshold: nan"):
        accuracy_at(np.zeros(2), np.zeros(2), math.nan)

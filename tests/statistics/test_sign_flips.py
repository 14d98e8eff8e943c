"""The joint sign-flip test against every flip written out, and its level."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest

from lossbench.statistics.sign_flips import joint_sign_flip

pytestmark = pytest.mark.filterwarnings("error")


def brute_force(table: npt.NDArray[np.float64]) -> list[float]:
    """Every sign of every study, one by one; NaN differences are left out of their pair's mean."""
    observed = np.abs(np.nanmean(table, axis=1))
    hits = np.zeros(len(table))
    for signs in itertools.product((1.0, -1.0), repeat=table.shape[1]):
        hits += np.max(np.abs(np.nanmean(table * np.array(signs), axis=1))) >= observed - 1e-12
    return (hits / 2 ** table.shape[1]).tolist()


@pytest.mark.parametrize("studies", [6, 7, 9])
@pytest.mark.parametrize("discrete", [False, True])
def test_p_is_the_share_of_all_flips_in_which_any_pair_is_as_far(studies: int, discrete: bool) -> None:
    generator = np.random.default_rng(studies)
    recipes = generator.integers(-3, 6, (4, studies)) * 0.1 if discrete else generator.normal(0.0, 1.0, (4, studies))
    recipes = recipes + np.array([0.0, 0.0, 0.5, 1.5])[:, None]
    table = np.array([a - b for a, b in itertools.combinations(recipes, 2)])
    np.testing.assert_allclose(joint_sign_flip(table), brute_force(table), atol=1e-12)
    table[0, 0] = table[2, 1] = math.nan
    if studies > 6:
        np.testing.assert_allclose(joint_sign_flip(table), brute_force(table), atol=1e-12)
    else:
        assert np.isnan(joint_sign_flip(table)).tolist() == [True, False, True, False, False, False]


def test_six_studies_of_one_sign_are_two_of_64_flips() -> None:
    assert joint_sign_flip([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]]).tolist() == [2 / 64]
    assert np.isnan(joint_sign_flip([[0.1] * 5])).all()
    assert joint_sign_flip(np.zeros((1, 7))).tolist() == [1.0]
    assert joint_sign_flip(np.zeros((0, 7))).tolist() == []
    with pytest.raises(ValueError, match=r"must be \(pairs, studies\)"):
        joint_sign_flip([0.1] * 6)


def test_sampled_flips_agree_with_exact_ones_and_repeat() -> None:
    values = np.random.default_rng(5).normal(0.3, 1, 15)
    sums = np.array([0.0])
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    exact = float(np.mean(np.abs(sums) >= abs(values.sum()) - 1e-12))
    sampled = float(joint_sign_flip([values])[0])
    assert sampled == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 9_999))
    assert sampled == joint_sign_flip([values])[0]
    assert joint_sign_flip([np.full(40, 1.0) + np.arange(40) / 100])[0] == 1 / 10_000  # never zero


def test_equal_recipes_are_called_different_in_at_most_67_of_1000() -> None:
    generator, called = np.random.default_rng(1), 0
    for _ in range(1000):
        recipes = generator.normal(size=(5, 7)) * np.array([1, 1, 2, 3, 4])[:, None]
        table = np.array([a - b for a, b in itertools.combinations(recipes, 2)])
        called += bool((joint_sign_flip(table) < 0.05).any())
    assert 20 <= called <= 67  # 67 is the 99 % binomial bound at 5 %

"""The interval over test classes: by hand, against the plain jackknife, and its coverage where the truth is known."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from lossbench.statistics.jackknife import class_interval

pytestmark = pytest.mark.filterwarnings("error")


def without_each(cells: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Means (studies, groups) of all groups but one of cells (studies, groups)."""
    return np.array([[np.delete(row, index).mean() for index in range(row.size)] for row in cells])


def test_by_hand() -> None:
    """Cells 1 2 3 and 3 4 8. Their two-way mean squares: studies 13.5, groups 6.5, rest 1.5; 18.5 over 6."""
    cells = np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 8.0]])
    found = class_interval(cells.mean(axis=1), without_each(cells))
    total = 13.5 + 6.5 - 1.5
    freedom = total**2 / (13.5**2 / 1 + 6.5**2 / 2 + 1.5**2 / 2)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(total / 6)
    assert found.mean == pytest.approx(3.5)
    assert (found.low, found.high) == pytest.approx((3.5 - half, 3.5 + half))
    assert found.class_variance == pytest.approx((6.5 - 1.5) / 6)
    assert (found.studies, found.groups) == (2, 3)


def test_equal_studies_leave_the_plain_jackknife() -> None:
    """sum of (W_g - mean)^2 (G - 1) / G, of any statistic: here the logarithm of a mean."""
    values = np.random.default_rng(0).random(12) + 0.5
    without = np.array([math.log(np.delete(values, index).mean()) for index in range(12)])
    found = class_interval([math.log(values.mean())] * 3, [without] * 3)
    variance = 11 / 12 * np.square(without - without.mean()).sum()
    assert found.class_variance == pytest.approx(variance)
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 11) * math.sqrt(variance))


def test_it_is_never_narrower_than_studies_alone() -> None:
    generator = np.random.default_rng(1)
    for _ in range(50):
        cells = generator.normal(size=(5, 4)) + generator.normal(size=(5, 1))
        effects = cells.mean(axis=1)
        found = class_interval(effects, without_each(cells))
        alone = effects.std(ddof=1) / math.sqrt(5)
        assert found.class_variance >= 0
        assert found.high - found.mean >= stats.t.ppf(0.975, 19) * alone
        if found.class_variance == 0:
            assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 4) * alone)


def test_missing_studies_and_bounds() -> None:
    cells = np.random.default_rng(2).random((4, 5))
    without, effects = without_each(cells), cells.mean(axis=1)
    some = without.copy()
    some[1, 2] = math.nan
    kept = [0, 2, 3]
    assert class_interval(effects, some) == class_interval(effects[kept], without[kept])
    one = class_interval(effects[:1], without[:1])
    assert math.isnan(one.low)
    assert one.mean == effects[0]
    assert class_interval([0.99, 1.0], without[:2], bounds=(0, 1)).high == 1
    with pytest.raises(ValueError, match=r"must be \(studies,\), \(studies, groups\)"):
        class_interval(effects[:2], without)


@pytest.mark.parametrize(
    ("studies", "groups", "of_studies", "of_classes", "of_both"),
    [(7, 10, 0.3, 1.0, 1.0), (7, 50, 1.0, 3.0, 2.0), (4, 30, 0.2, 2.0, 0.5), (7, 50, 1.0, 0.0, 1.0)],
)
def test_it_covers_the_effect_on_all_classes(
    studies: int, groups: int, of_studies: float, of_classes: float, of_both: float
) -> None:
    """Truth 0 over studies and classes; the interval over studies alone misses it where classes matter."""
    generator, covered, alone = np.random.default_rng(3), 0, 0
    for _ in range(1000):
        cells = (
            of_studies * generator.normal(size=(studies, 1))
            + of_classes * generator.normal(size=(1, groups))
            + of_both * generator.normal(size=(studies, groups))
        )
        effects = cells.mean(axis=1)
        without = (cells.sum(axis=1, keepdims=True) - cells) / (groups - 1)
        found = class_interval(effects, without)
        covered += found.low <= 0 <= found.high
        half = stats.t.ppf(0.975, studies - 1) * effects.std(ddof=1) / math.sqrt(studies)
        alone += abs(effects.mean()) <= half
    assert 930 <= covered <= 990
    if of_classes == 2.0:
        assert alone < 600

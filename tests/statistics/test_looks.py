"""The schedule: what it is, that it never ends, and that it spends alpha once."""

from __future__ import annotations

import itertools
import math

import pytest

from lossbench.statistics.looks import looks_until, next_look, schedule


def test_looks_and_what_they_spend_are_fixed() -> None:
    looks = list(itertools.islice(schedule(), 8))
    assert [look.studies for look in looks] == [7, 9, 12, 18, 24, 36, 48, 72]
    assert 0.05 * looks[0].share == pytest.approx(0.035)
    assert [round(0.05 * look.share, 5) for look in looks[1:4]] == [0.00375, 0.00281, 0.00211]


def test_all_looks_together_spend_all_and_no_more() -> None:
    shares = [look.share for look in itertools.islice(schedule(), 400)]
    assert math.fsum(shares) == pytest.approx(1.0)
    assert math.fsum(shares) <= 1.0
    studies = [look.studies for look in itertools.islice(schedule(), 40)]
    assert studies == sorted(set(studies))


@pytest.mark.parametrize("studies", range(40))
def test_raising_the_number_of_studies_never_changes_a_look(studies: int) -> None:
    assert looks_until(studies) == looks_until(100)[: len(looks_until(studies))]
    assert all(look.studies <= studies for look in looks_until(studies))
    assert next_look(studies) == looks_until(100)[len(looks_until(studies))].studies

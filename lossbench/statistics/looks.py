"""When results are tested: at 7, 9, 12, 18, 24, 36, ... studies, for ever, each look with a fixed share of the error.

Who tests again after every study finds a difference sooner or later. The looks and what each may spend are fixed here,
for every experiment and without an end, so that "how many studies will there be?" never enters: a run of seven that is
later extended to twenty-four reads off the same schedule as one planned for twenty-four, and the errors of all looks
together stay below alpha (by Bonferroni's inequality over looks).

Spending in the shape of O'Brien and Fleming saves nearly everything for the last look; without a last look there is
nothing to save for, and any shares must fall off in the long run. Seven tenths are spent where the default stops: that
keeps nearly the power of a test without looks there, and what it costs later is in docs/protocol.md. Boundaries that
use the correlation of the looks would find a little more, and trust normal scores more than a search deserves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, takewhile

LEAST_RANKED = 4  # fewer studies rank nothing: a t test of three has two degrees of freedom
FIRST_LOOK = 7  # the default of `[budget] studies`
FIRST_SHARE = 0.7
FALL = 0.75  # each later look has three quarters of the share of the one before


@dataclass(frozen=True, slots=True)
class Look:
    """A test of the first `studies` studies, which may spend `share` of alpha."""

    studies: int
    share: float


def schedule() -> Iterator[Look]:
    """All looks; their shares add up to 1.

    >>> from itertools import islice
    >>> [look.studies for look in islice(schedule(), 9)]
    [7, 9, 12, 18, 24, 36, 48, 72, 96]
    """
    yield Look(FIRST_LOOK, FIRST_SHARE)
    for number in count():
        studies = (9, 12)[number % 2] * 2 ** (number // 2)
        yield Look(studies, (1 - FIRST_SHARE) * (1 - FALL) * FALL**number)


def looks_until(studies: int) -> tuple[Look, ...]:
    """The looks at no more than so many studies; none below seven."""
    return tuple(takewhile(lambda look: look.studies <= studies, schedule()))


def next_look(studies: int) -> int:
    """The first look after so many studies.

    >>> next_look(0), next_look(7), next_look(20)
    (7, 9, 24)
    """
    return next(look.studies for look in schedule() if look.studies > studies)

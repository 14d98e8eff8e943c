"""How mistakes are told; apart from the tables of an experiment file, whose models take a tenth of a second to make."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SpecError(ValueError):
    """Mistakes in an experiment, one line each: place, value, rule and nearest valid name."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(" ".join(mistake.splitlines()) for mistake in mistakes)
        super().__init__("\n".join(self.mistakes))


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name, else nothing.

    >>> nearest("centre", ["center", "triplet"])
    "; did you mean 'center'?"
    """
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""

"""A figure that cannot be drawn is left out and named; it never takes the report with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

Drawing = TypeVar("Drawing")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A figure that is not there: which one, of what (a task, or all of them), and the error that drawing it raised."""

    figure: str
    about: str
    reason: str

    @property
    def sentence(self) -> str:
        """`The figure "training loss" of digits/closed-set is left out: it could not be drawn (ValueError: ...).`"""
        return f'The figure "{self.figure}" of {self.about} is left out: it could not be drawn ({self.reason}).'


@dataclass(slots=True)
class Attempts:
    """Draws what can be drawn, and keeps what could not."""

    about: str
    left_out: list[LeftOut] = field(default_factory=list)

    def __call__(self, figure: str, draw: Callable[[], Drawing | None]) -> Drawing | None:
        """What `draw` gives; None where it gives none, or raises whatever error."""
        try:
            return draw()
        except Exception as error:  # what a drawing library raises on numbers that nobody foresaw has no common kind
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self.left_out.append(LeftOut(figure=figure, about=self.about, reason=reason[:300]))
            return None

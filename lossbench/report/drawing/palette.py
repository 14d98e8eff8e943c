"""One color and one marker for each recipe, the same in every figure, told apart by color-blind readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Okabe and Ito's palette without black and yellow, darkened or lightened to read on white and on black alike.
COLORS = ("#0f7ac0", "#e07b00", "#0b9e78", "#c64fa0", "#8a6fe8", "#b8860b", "#d6453d", "#4aa9c9", "#7d8590")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "h")
MUTED = "#8b949e"
# Twelve hues for classes in embedding maps; centers carry the class's number, so that color is not alone.
CLASS_COLORS = (
    "#0f7ac0", "#e07b00", "#0b9e78", "#d6453d", "#8a6fe8", "#a0724a",
    "#d36ab8", "#7d8590", "#a8a51c", "#22a9bd", "#5a6acf", "#e39aa0",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Look:
    """How a recipe is drawn."""

    color: str
    marker: str


def looks(names: Sequence[str]) -> dict[str, Look]:
    """Recipe to look, by its place in the experiment."""
    return {
        name: Look(COLORS[index % len(COLORS)], MARKERS[(index + index // len(COLORS)) % len(MARKERS)])
        for index, name in enumerate(names)
    }

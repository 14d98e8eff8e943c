"""Which recipes train on a share of the classes at each step: `negatives` of a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from lossbench.specification.experiment import Experiment, RecipeEntry
from lossbench.specification.parsing import toml_path
from lossbench.specification.recipes import Recipe

HEADS = ("softmax", "normalized-softmax", "arcface", "cosface")  # losses that can draw classes


def sampled(experiment: Experiment, entry: RecipeEntry, recipe: Recipe) -> Recipe:
    """The recipe with its share of the classes; with all of them where none of its losses can draw some."""
    share = experiment.training.negatives if entry.negatives is None else entry.negatives
    return replace(recipe, negatives=share) if _draws(recipe) else recipe


def mistakes(experiment: Experiment, recipes: Iterable[Recipe]) -> Iterator[str]:
    """Recipes with a share of their own that none of their losses knows, one line each."""
    made = {recipe.name: recipe for recipe in recipes}
    for position, entry in enumerate(experiment.recipes):
        if entry.negatives is not None and entry.name in made and not _draws(made[entry.name]):
            place = toml_path(["recipes", position, "negatives"])
            yield f"{place}: {entry.negatives:g}: no loss of {entry.use!r} draws classes; {', '.join(HEADS)} do"


def _draws(recipe: Recipe) -> bool:
    return any(loss.name in HEADS for loss in recipe.losses)

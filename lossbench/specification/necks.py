"""Which losses of a recipe see the embedding before the neck and which after it: `neck` and `[terms]` of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

from lossbench.plugins import Plugin, registry
from lossbench.plugins.mistakes import nearest
from lossbench.specification.experiment import Experiment, RecipeEntry
from lossbench.specification.parsing import toml_path
from lossbench.specification.recipes import ARROW, Recipe


def necked(experiment: Experiment, entry: RecipeEntry, recipe: Recipe) -> Recipe:
    """The recipe with its neck, if it has one, and the losses that see the embedding before it."""
    neck = experiment.neck if entry.neck is None else entry.neck
    if neck == "none":
        return recipe
    given = {name: place for name, place in experiment.terms.items() if isinstance(place, str)}
    own = experiment.terms.get(entry.name, {})
    places = given | dict(own if isinstance(own, Mapping) else {})
    before = tuple(loss.name for loss in recipe.losses if places.get(loss.name, default_place(loss)) == "before")
    return replace(recipe, neck=neck, before_neck=before)


def default_place(loss: Plugin) -> Literal["before", "after"]:
    """Before the neck what compares samples with each other or with centers; after it, classifiers and all else."""
    return "before" if loss.sampler == "balanced" or "center" in loss.name else "after"


def mistakes(experiment: Experiment) -> list[str]:
    """What is wrong with `[terms]`, one line each."""
    if experiment.terms and {experiment.neck, *(entry.neck for entry in experiment.recipes)} <= {"none", None}:
        return ['terms: there is no neck that a loss could see before or after; set neck = "batchnorm"']
    losses, recipes = registry.names("loss"), {entry.name: entry.use for entry in experiment.recipes}
    found = []
    for name, place in experiment.terms.items():
        if isinstance(place, str):
            if name not in losses:
                found.append(f"{toml_path(['terms', name])}: unknown loss{nearest(name, losses)}; a recipe has a table")
        elif name not in recipes:
            found.append(f"{toml_path(['terms', name])}: unknown recipe{nearest(name, recipes)}")
        else:
            found += _foreign(name, place, recipes[name])
    return found


def _foreign(name: str, places: Mapping[str, str], rule: str) -> Iterator[str]:
    """Losses that a recipe does not have."""
    own = [part.strip() for stage in rule.split(ARROW) for part in stage.partition("@")[0].split("+")]
    for loss in places:
        if loss not in own:
            yield f"{toml_path(['terms', name, loss])}: is no loss of {rule!r}{nearest(loss, own)}"

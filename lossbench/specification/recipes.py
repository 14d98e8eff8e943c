"""Recipes: from a rule like `softmax+center@balanced` and parameter values to the terms of a run.

A rule lists registered losses joined by `+`; the first has weight 1, the second `lambda`, every further one
`lambda_<loss>`. `@uniform` or `@balanced` replaces the sampler, which otherwise is balanced as soon as one
term needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from lossbench.plugins import Choice, Float, Int, Plugin, PluginError, Range, Sampler, registry
from lossbench.specification.spec import Term, Training, Value, nearest

# The documented default and the search range of the learning rate: the same for every recipe.
LEARNING_RATES: dict[str, tuple[float, Float]] = {
    "adam": (2e-3, Float(2e-4, 3e-2, log=True, valid=(0.0, 1e6))),
    "sgd": (1e-2, Float(1e-3, 1.0, log=True, valid=(0.0, 1e6))),
}
SAMPLERS: tuple[Sampler, ...] = ("uniform", "balanced")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Terms, sampler and search space under one name.

    Attributes:
        space: every parameter's range, `lr` first; parameters fixed by the experiment are not in it.
        defaults: every parameter's value in trial 0, fixed ones included.
        owners: which loss each parameter belongs to; None for `lr` and weights.
    """

    name: str
    losses: tuple[Plugin, ...]
    sampler: Sampler
    space: Mapping[str, Range]
    defaults: Mapping[str, Value]

    @property
    def searched(self) -> dict[str, Range]:
        """The parameters that a study searches."""
        return {name: allowed for name, allowed in self.space.items() if allowed.tune}

    def terms(self, values: Mapping[str, Value]) -> tuple[Term, ...]:
        """The losses with their weights and parameters at the given values."""
        terms = []
        for position, plugin in enumerate(self.losses):
            weight = 1.0 if position == 0 else float(values[weight_name(self.losses, position)])
            names = parameter_names(self.losses, position)
            params = tuple((own, values[name]) for own, name in names.items())
            terms.append(Term(loss=plugin.name, weight=weight, params=params))
        return tuple(terms)


def make_recipe(name: str, rule: str, training: Training) -> Recipe:
    """The recipe that a rule describes.

    Raises:
        PluginError: unknown loss or sampler, or a loss named twice.
    """
    body, at, sampler = rule.partition("@")
    if at and sampler not in SAMPLERS:
        raise PluginError(f"unknown sampler {sampler!r}{nearest(sampler, SAMPLERS)}")
    losses = tuple(registry.find("loss", part.strip()) for part in body.split("+"))
    if len({plugin.name for plugin in losses}) < len(losses):
        raise PluginError(f"{rule!r} names a loss twice")
    default_lr, range_lr = LEARNING_RATES[training.optimizer]
    space: dict[str, Range] = {"lr": range_lr}
    defaults: dict[str, Value] = {"lr": default_lr}
    for position, plugin in enumerate(losses):
        if position:
            weight = weight_name(losses, position)
            space[weight], defaults[weight] = plugin.weight, plugin.default_weight
        names = parameter_names(losses, position)
        space |= {name: plugin.space[own] for own, name in names.items()}
        defaults |= {name: plugin.defaults[own] for own, name in names.items()}
    needed: Sampler = "balanced" if any(plugin.sampler == "balanced" for plugin in losses) else "uniform"
    chosen = cast(Sampler, sampler) if at else needed
    return Recipe(name=name, losses=losses, sampler=chosen, space=space, defaults=defaults)


def weight_name(losses: tuple[Plugin, ...], position: int) -> str:
    """`lambda` for the second term, `lambda_<loss>` for later ones."""
    return "lambda" if position == 1 else f"lambda_{losses[position].name}"


def parameter_names(losses: tuple[Plugin, ...], position: int) -> dict[str, str]:
    """A loss's parameters by their names in the recipe: a taken name is followed by `_<loss>`."""
    taken = {"lr", *(weight_name(losses, number) for number in range(1, len(losses)))}
    taken |= {name for plugin in losses[:position] for name in plugin.space}
    plugin = losses[position]
    return {own: f"{own}_{plugin.name}" if own in taken else own for own in plugin.space}


def with_params(recipe: Recipe, params: Mapping[str, Any]) -> tuple[Recipe, list[tuple[str, str]]]:
    """Fix parameters or replace their ranges as an experiment says.

    Returns:
        The changed recipe and the mistakes as (parameter, what is wrong).
    """
    space, defaults, mistakes = dict(recipe.space), dict(recipe.defaults), []
    for name, given in params.items():
        if name not in recipe.space:
            mistakes.append((name, f"unknown parameter{nearest(name, recipe.space)}"))
            continue
        allowed = recipe.space[name]
        if isinstance(given, Mapping):
            try:
                space[name] = _new_range(allowed, given)
            except PluginError as error:
                mistakes.append((name, str(error)))
                continue
            defaults[name] = _into(space[name], defaults[name])
        elif problem := allowed.problem_with(given):
            mistakes.append((name, problem))
        else:
            defaults[name] = float(given) if isinstance(allowed, Float) else given
            del space[name]
    return replace(recipe, space=space, defaults=defaults), mistakes


def _new_range(allowed: Range, given: Mapping[str, Any]) -> Range:
    """The range a table `{ low, high, log }` describes, inside what is valid."""
    if isinstance(allowed, Choice):
        raise PluginError(f"is one of {', '.join(allowed.options)}; give one of them")
    known = ("low", "high", "log")
    for key in given:
        if key not in known:
            raise PluginError(f"unknown key {key!r}{nearest(key, known)}; a range is {{ low, high, log }}")
    if not {"low", "high"} <= given.keys():
        raise PluginError("a range needs low and high")
    for key in ("low", "high"):
        if problem := allowed.problem_with(given[key]):
            raise PluginError(f"{key}: {problem}")
    log = given.get("log", False)
    if not isinstance(log, bool):
        raise PluginError(f"log: {log!r} is not true or false")
    if isinstance(allowed, Int):
        if log:
            raise PluginError("log: a range of whole numbers is not logarithmic")
        return Int(given["low"], given["high"], valid=allowed.valid)
    return Float(float(given["low"]), float(given["high"]), log=log, valid=allowed.valid)


def _into(allowed: Range, value: Value) -> Value:
    """The default moved to the nearest end of a range that excludes it."""
    if isinstance(allowed, Float):
        return min(max(float(value), allowed.low), allowed.high)
    if isinstance(allowed, Int):
        return min(max(int(value), allowed.low), allowed.high)
    return value

"""Recipes: from a rule like `softmax+center@balanced` and parameter values to the terms of a run.

A rule lists registered losses joined by `+`; the first has weight 1, the second `lambda`, every further one
`lambda_<loss>`. `@uniform` or `@balanced` replaces the sampler, which otherwise is balanced as soon as one
term needs it.

`softmax->arcface` has two stages, each of which is such a list: the second goes on with the network that the first has
left, and the two share the epochs that any recipe has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from lossbench.plugins import Choice, Float, Int, Plugin, PluginError, Range, Sampler, registry
from lossbench.plugins.mistakes import nearest
from lossbench.specification.pretrained import Factor
from lossbench.specification.spec import Stage, Term
from lossbench.specification.training_settings import Training
from lossbench.specification.values import Value

# The documented default and the search range of the learning rate: the same for every recipe.
LEARNING_RATES: dict[str, tuple[float, Float]] = {
    "adam": (2e-3, Float(2e-4, 3e-2, log=True, valid=(0.0, 1e6))),
    "sgd": (1e-2, Float(1e-3, 1.0, log=True, valid=(0.0, 1e6))),
}
SAMPLERS: tuple[Sampler, ...] = ("uniform", "balanced")
ARROW = "->"  # between two stages
SHARE = "share"  # of the epochs that the first stage has
TRUNK = "lr_factor"  # of the learning rate for the part of the network that came from a file
SHARES = Float(0.1, 0.9, valid=(0.0, 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Losses that train together, and the batches that they get."""

    losses: tuple[Plugin, ...]
    sampler: Sampler


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One or two parts and a search space under one name.

    Attributes:
        parts: of a staged recipe two, in turn.
        space: every parameter's range, `lr` first; parameters fixed by the experiment are not in it.
        defaults: every parameter's value in trial 0 and where nothing is tuned, fixed ones included.
        neck, before_neck: as in `RunSpec`.
        negatives: as in `Training`.
    """

    name: str
    parts: tuple[Part, ...]
    space: Mapping[str, Range]
    defaults: Mapping[str, Value]
    neck: Literal["", "batchnorm"] = ""
    before_neck: tuple[str, ...] = ()
    negatives: float = 1.0

    @property
    def losses(self) -> tuple[Plugin, ...]:
        """The losses of all parts, each once."""
        return _losses(self.parts)

    @property
    def sampler(self) -> str:
        """Its batches, for a reader."""
        return " then ".join(dict.fromkeys(part.sampler for part in self.parts))

    @property
    def searched(self) -> dict[str, Range]:
        """The parameters that a study searches."""
        return {name: allowed for name, allowed in self.space.items() if allowed.tune}

    def terms(self, values: Mapping[str, Value], part: int = 0) -> tuple[Term, ...]:
        """The losses of a part with their weights and parameters at the given values."""
        weights, names = _weight_names(self.parts), _parameter_names(self.parts)
        return tuple(
            Term(
                loss=plugin.name,
                weight=float(values[weights[plugin.name]]) if position else 1.0,
                params=tuple((own, values[name]) for own, name in names[plugin.name].items()),
            )
            for position, plugin in enumerate(self.parts[part].losses)
        )

    def stages(self, values: Mapping[str, Value], epochs: int) -> tuple[Stage, ...]:
        """What trains for how many of so many epochs; a stage that has none is left out.

        The first of two has its `share` of the epochs, rounded to whole ones.
        """
        lengths = [epochs]
        if len(self.parts) > 1:
            first = math.floor(float(values[SHARE]) * epochs + 0.5)
            lengths = [first, epochs - first]
        return tuple(
            Stage(terms=self.terms(values, number), sampler=part.sampler, epochs=length)
            for number, (part, length) in enumerate(zip(self.parts, lengths, strict=True))
            if length
        )


def make_recipe(name: str, rule: str, training: Training) -> Recipe:
    """The recipe that a rule describes.

    Raises:
        PluginError: unknown loss or sampler, a loss named twice in a stage, or more than two stages.
    """
    parts = tuple(_part(each.strip()) for each in rule.split(ARROW))
    if len(parts) > 2:
        raise PluginError(f"{rule!r} has {len(parts)} stages; a recipe has one or two")
    default_lr, range_lr = LEARNING_RATES[training.optimizer]
    space: dict[str, Range] = {"lr": range_lr}
    defaults: dict[str, Value] = {"lr": default_lr}
    if len(parts) > 1:
        space[SHARE], defaults[SHARE] = SHARES, 0.5
    weights, names = _weight_names(parts), _parameter_names(parts)
    for plugin in _losses(parts):
        if weight := weights.get(plugin.name):
            space[weight], defaults[weight] = plugin.weight, plugin.default_weight
        own = names[plugin.name]
        space |= {name: plugin.space[each] for each, name in own.items()}
        defaults |= {name: plugin.defaults[each] for each, name in own.items()}
    return Recipe(name=name, parts=parts, space=space, defaults=defaults)


def _part(rule: str) -> Part:
    """The part that `softmax+center@balanced` describes."""
    body, at, sampler = rule.partition("@")
    if at and sampler not in SAMPLERS:
        raise PluginError(f"unknown sampler {sampler!r}{nearest(sampler, SAMPLERS)}")
    losses = tuple(registry.find("loss", each.strip()) for each in body.split("+"))
    if len({plugin.name for plugin in losses}) < len(losses):
        raise PluginError(f"{rule!r} names a loss twice")
    needed: Sampler = "balanced" if any(plugin.sampler == "balanced" for plugin in losses) else "uniform"
    return Part(losses=losses, sampler=cast(Sampler, sampler) if at else needed)


def _losses(parts: Sequence[Part]) -> tuple[Plugin, ...]:
    """Every loss once, in the order of the rule; in both stages it has the same parameters."""
    return tuple({plugin.name: plugin for part in parts for plugin in part.losses}.values())


def _weight_names(parts: Sequence[Part]) -> dict[str, str]:
    """Of each loss that is added to another its weight: `lambda` for the first, `lambda_<loss>` for later ones."""
    added = dict.fromkeys(plugin.name for part in parts for plugin in part.losses[1:])
    return {loss: f"lambda_{loss}" if position else "lambda" for position, loss in enumerate(added)}


def _parameter_names(parts: Sequence[Part]) -> dict[str, dict[str, str]]:
    """Of each loss its parameters with their names in the recipe: a taken name is followed by `_<loss>`."""
    taken = {"lr", TRUNK, *_weight_names(parts).values(), *([SHARE] if len(parts) > 1 else [])}
    found: dict[str, dict[str, str]] = {}
    for plugin in _losses(parts):
        found[plugin.name] = {own: f"{own}_{plugin.name}" if own in taken else own for own in plugin.space}
        taken |= set(plugin.space)
    return found


def with_factor(recipe: Recipe, factor: Factor) -> Recipe:
    """The recipe with a factor of the learning rate for the trunk, which it searches where that is a range."""
    allowed = Float(factor.low, factor.high, log=factor.log, valid=(0.0, 1000.0))
    space = {**recipe.space, **({TRUNK: allowed} if factor.searched else {})}
    return replace(recipe, space=space, defaults={**recipe.defaults, TRUNK: factor.middle})


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

"""Losses that were given as Python objects, as a notebook has them: functions, modules and their classes.

They live in this process only. Each is known by its `identity`, and put together anew for every run.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossbench.plugins import registry
from lossbench.plugins.identity import identity
from lossbench.plugins.mistakes import SpecError
from lossbench.plugins.plugin import Plugin, PluginError, Problem

if TYPE_CHECKING:
    from torch import nn

WAY_OUT = "put the loss into a file of its own, give the file by plugins=[FILE] and the loss by its name"
SIZES = {"num_classes": "num_classes", "embedding_dim": "embedding_dim", "embedding_size": "embedding_dim"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a list of names and objects came to.

    Attributes:
        recipes: a name for each.
        plugins: the losses that live in this process only, to be lent to the registry.
        files: of decorated functions that were imported: plugin files as any.
    """

    recipes: tuple[str, ...]
    plugins: tuple[Plugin, ...]
    files: tuple[Path, ...]


def given_losses(losses: Sequence[object]) -> Given:
    """The recipes of a list of names and objects, and the plugins that the objects are.

    An object is a loss `function(embeddings, labels)`, a maker `function(problem)` of a module, decorated or not, a
    module, whose parameters start as they are, or a class of modules that needs nothing but `num_classes` and
    `embedding_dim`. What is not decorated is trained on balanced batches, and has its learning rate tuned.

    Raises:
        SpecError: every object that is none of these, or cannot be identified, with the way out.
    """
    recipes: list[str] = []
    plugins: list[Plugin] = []
    files: list[Path] = []
    mistakes: list[str] = []
    for position, each in enumerate(losses):
        if isinstance(each, str):
            recipes.append(each)
            continue
        declared = registry.of_function(each)
        if declared and declared.file.is_file() and declared.function.__module__ != "__main__":
            recipes.append(declared.name)
            files += [] if declared.builtin else [declared.file]
            continue
        try:
            plugin = _plugin(each, declared, recipes)
        except PluginError as error:
            mistakes.append(f"losses[{position}]: {error}")
            continue
        plugins.append(plugin)
        recipes.append(plugin.name)
    if mistakes:
        raise SpecError(mistakes)
    return Given(recipes=tuple(recipes), plugins=tuple(plugins), files=tuple(dict.fromkeys(files)))


def _plugin(given: Any, declared: Plugin | None, taken: Sequence[str]) -> Plugin:
    make, name = (declared.function, declared.name) if declared else _maker(given)
    try:
        known = identity(given)
    except PluginError as error:
        raise PluginError(f"{name}: {error}; {WAY_OUT}") from error
    function = _checked(make, given, name, known)
    if declared:
        return replace(declared, function=function, identity=known)
    return Plugin(
        kind="loss", name=_free(name, taken), function=function, source="a Python object", file=Path("a Python object"),
        sampler="balanced", identity=known,
    )  # fmt: skip


def _maker(given: Any) -> tuple[Callable[..., Any], str]:
    """What makes a module for a problem, and the object's name."""
    from torch import nn

    if isinstance(given, nn.Module):
        return (lambda _: copy.deepcopy(given)), type(given).__name__
    if isinstance(given, type) and issubclass(given, nn.Module):
        sizes = _sizes(given)
        return (lambda problem: given(**{name: getattr(problem, of) for name, of in sizes.items()})), given.__name__
    name = getattr(given, "__name__", "")
    if not callable(given) or not name:
        raise PluginError(f"{_shown(given)} is no name, function, module or class of modules")
    if not name.isidentifier():
        raise PluginError(f"{name} has no name; write it with def")
    needed = [each for each in _parameters(given) if each.default is each.empty]
    if len(needed) == 1:
        return given, name
    if len(needed) == 2:
        return (lambda _: _module(given)), name
    raise PluginError(f"{name} takes {len(needed)} arguments; a loss takes embeddings and labels, a maker a problem")


def _sizes(kind: type) -> Mapping[str, str]:
    """The arguments of a class of modules, and what of a problem they are."""
    needed = [each.name for each in _parameters(kind) if each.default is each.empty]
    if unknown := [name for name in needed if name not in SIZES]:
        raise PluginError(
            f"{kind.__name__} needs {', '.join(unknown)} too; give an instance, or a function of a problem"
        )
    return {each.name: SIZES[each.name] for each in _parameters(kind) if each.name in SIZES}


def _parameters(given: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    try:
        found = inspect.signature(given).parameters.values()
    except (TypeError, ValueError) as error:
        raise PluginError(f"{_shown(given)} does not say what it takes; wrap it in a function") from error
    yield from (each for each in found if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD))


def _checked(make: Callable[..., Any], given: Any, name: str, known: str) -> Callable[..., Any]:
    """`make`, which raises where runs changed the object: then no two of them were alike."""

    def made(problem: Problem, **params: Any) -> nn.Module:
        if identity(given) != known:
            raise PluginError(f"{name} changed while it was used; state belongs into an nn.Module")
        module: nn.Module = make(problem, **params)
        return module

    made.__doc__ = inspect.getdoc(given) if inspect.isfunction(given) else None
    return made


def _module(function: Callable[..., Any]) -> nn.Module:
    """A loss function as a module."""
    from torch import Tensor, nn

    class Loss(nn.Module):
        def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
            value: Tensor = function(embeddings, labels)
            return value

    return Loss()


def _free(name: str, taken: Sequence[str]) -> str:
    """The name, with a number where it is taken."""
    numbered = (name if number == 1 else f"{name}-{number}" for number in range(1, len(taken) + 2))
    return next(each for each in numbered if each not in taken)


def _shown(given: object) -> str:
    text = repr(given)
    return text if len(text) <= 60 else f"{text[:57]}..."

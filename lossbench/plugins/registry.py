"""Names to plugins: the table, the decorators that fill it, and finding a plugin in it by name.

A plugin is a function with a decorator, the same form for losses, data sets, backbones and metrics:

    @loss("binomial", space={"beta": Float(0.1, 0.8)}, sampler="balanced", source="arXiv:1407.4979")
    def binomial(problem: Problem, *, beta: float = 0.5) -> nn.Module: ...

Declaring is cheap: importing this module or a built-in table imports neither torch nor NumPy. Nothing but what
`discovery` knows is ever imported by name.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lossbench.plugins import discovery
from lossbench.plugins.mistakes import SpecError, nearest
from lossbench.plugins.plugin import DEFAULT_WEIGHT, Float, Input, Kind, Plugin, PluginError, Range, Sampler, file_name

Function = TypeVar("Function", bound=Callable[..., Any])

NAME = re.compile(r"(?!.*->)[^\s+@\"'\\:][^+@\"'\\:\x00-\x1f]*")

_plugins: dict[tuple[Kind, str], Plugin] = {}
_files: dict[Path, str] = {}


def loss(
    name: str,
    *,
    space: Mapping[str, Range] | None = None,
    sampler: Sampler = "uniform",
    source: str = "",
    weight: Float = DEFAULT_WEIGHT,
    default_weight: float = 1.0,
    deviations: Mapping[str, str] | None = None,
) -> Callable[[Function], Function]:
    """Register `function(problem, *, param=default, ...) -> nn.Module` as a loss.

    The module's `forward(embeddings (B, D), labels (B,))` returns a scalar. `space` gives the range of every
    keyword argument; the defaults in the signature are trial 0 of every study. `deviations` names the checks of
    `lossbench check` that the loss is known not to pass, each with its reason.
    """

    def register(function: Function) -> Function:
        defaults = _defaults(function, name)
        ranges = dict(space or {})
        for param in defaults.keys() - ranges.keys():
            raise PluginError(f"loss {name!r}: argument {param!r} is not in its space")
        for param in ranges.keys() - defaults.keys():
            raise PluginError(f"loss {name!r}: space names {param!r}, which is not an argument")
        for param, allowed in ranges.items():
            if problem := allowed.problem_with(defaults[param]):
                raise PluginError(f"loss {name!r}: default of {param!r}: {problem}")
        _add(
            Plugin(
                kind="loss", name=name, function=function, source=source, file=_file_of(function),
                defaults=defaults, space=ranges, sampler=sampler,
                weight=weight, default_weight=default_weight, deviations=dict(deviations or {}),
            )
        )  # fmt: skip
        return function

    return register


def dataset(
    name: str, *, source: str = "", license: str = "", citation: str = "", protocols: tuple[str, ...] = ()
) -> Callable[[Function], Function]:
    """Register `function(request) -> Dataset` as a data set that offers `protocols`."""

    def register(function: Function) -> Function:
        _add(
            Plugin(
                kind="dataset", name=name, function=function, source=source, file=_file_of(function),
                license=license, citation=citation, protocols=protocols,
            )
        )  # fmt: skip
        return function

    return register


def backbone(
    name: str, *, source: str = "", inputs: tuple[Input, ...] = (), variants: bool = False
) -> Callable[[Function], Function]:
    """Register `function(problem) -> nn.Module` mapping images (B, C, H, W) or vectors (B, F) to embeddings (B, D).

    `inputs` says which of both; where it is left out, either is tried. With `variants` experiments call it
    `name:VARIANT`, which the function finds in `problem.variant`.
    """

    def register(function: Function) -> Function:
        _add(
            Plugin(
                kind="backbone", name=name, function=function, source=source, file=_file_of(function),
                inputs=inputs, variants=variants,
            )
        )  # fmt: skip
        return function

    return register


def metric(
    name: str, *, source: str = "", protocols: tuple[str, ...] = (), higher_is_better: bool = True
) -> Callable[[Function], Function]:
    """Register `function(embeddings (N, D), labels (N,)) -> float`, computed on validation and test in both spaces."""

    def register(function: Function) -> Function:
        _add(
            Plugin(
                kind="metric", name=name, function=function, source=source, file=_file_of(function),
                protocols=protocols, higher_is_better=higher_is_better,
            )
        )  # fmt: skip
        return function

    return register


def find(kind: Kind, name: str) -> Plugin:
    """The plugin of that name; of a backbone `name:VARIANT` that of the name.

    Raises:
        PluginError: nothing of that name is registered; names the nearest one.
    """
    discovery.load_builtin(kind)
    if kind == "backbone":
        name = name.partition(":")[0]
    if (kind, name) not in _plugins and (point := discovery.entry_points(kind).get(name)):
        discovery.load_entry_point(kind, point)
        if (kind, name) not in _plugins:
            raise PluginError(f"{kind} {name!r} from {point.value}: registers no {kind} of that name")
    if (kind, name) not in _plugins:
        raise PluginError(f"unknown {kind} {name!r}{nearest(name, names(kind))}")
    return _plugins[kind, name]


def names(kind: Kind, files: Iterable[str] | None = None) -> list[str]:
    """Every usable name of a kind, sorted; entry points are named without importing them.

    Args:
        files: the plugin files whose names count, where only these do: a process may have loaded others.
    """
    discovery.load_builtin(kind)
    ignored = set() if files is None else _files.keys() - {Path(file).resolve() for file in files}
    registered = {plugin.name for plugin in _plugins.values() if plugin.kind == kind and plugin.file not in ignored}
    return sorted(registered | discovery.entry_points(kind).keys())


def registered_by(path: Path, kind: Kind) -> list[Plugin]:
    """The plugins of a kind that a loaded file registered, in its order."""
    return [plugin for plugin in _plugins.values() if plugin.kind == kind and plugin.file == path.resolve()]


@contextlib.contextmanager
def lent(plugins: Iterable[Plugin]) -> Iterator[None]:
    """Have these plugins too, for as long as the block lasts.

    Raises:
        PluginError: a name that is no name, or taken.
    """
    before: dict[tuple[Kind, str], Plugin | None] = {}
    try:
        for plugin in plugins:
            key = plugin.kind, plugin.name
            earlier = _plugins.get(key)
            if earlier and earlier.file == plugin.file:  # a script's own, which goes by its identity meanwhile
                del _plugins[key]
            _add(plugin)
            before[key] = earlier
        yield
    finally:
        for key, known in before.items():
            if known is None:
                del _plugins[key]
            else:
                _plugins[key] = known


def of_function(function: object) -> Plugin | None:
    """The plugin that a decorated function is; None where it is none."""
    return next((plugin for plugin in _plugins.values() if plugin.function is function), None)


def load_files(paths: Iterable[str | Path]) -> None:
    """Import plugin files, each once.

    Raises:
        SpecError: what `load_file` says of each that fails; the others are loaded.
    """
    mistakes = []
    for path in paths:
        try:
            load_file(Path(path))
        except PluginError as error:
            mistakes.append(str(error))
    if mistakes:
        raise SpecError(mistakes)


def load_file(path: Path) -> str:
    """Import a plugin file once and return the SHA-256 of its source; all of its plugins are registered, or none.

    Raises:
        PluginError: it is missing, does not import, registers nothing, or clashes; names file and reason.
    """
    path = path.resolve()
    digest = discovery.digest_of(path)
    if _files.get(path) == digest:
        return digest
    for key in [key for key, plugin in _plugins.items() if plugin.file == path]:
        del _plugins[key]  # the file changed since it was loaded
    before = set(_plugins)
    try:
        discovery.import_file(path, digest)
        if set(_plugins) == before:
            raise PluginError("registers nothing; decorate a function with @lossbench.loss(...)")
    except PluginError as error:
        for key in set(_plugins) - before:
            if not _plugins[key].builtin:  # loading the file may have loaded the built-in table
                del _plugins[key]
        raise PluginError(f"plugin {path}: {error}") from error
    _files[path] = digest
    return digest


def _add(plugin: Plugin) -> None:
    if not NAME.fullmatch(plugin.name):
        raise PluginError(
            f"{plugin.kind} {plugin.name!r}: a name holds no '+', '->', '@', ':', quote or control character"
        )
    if not plugin.builtin:
        discovery.load_builtin(plugin.kind)
    existing = _plugins.get((plugin.kind, plugin.name))
    if existing and existing.file.is_file():  # one of a notebook is replaced, as its cell is run again
        owner = "lossbench itself" if existing.builtin else existing.file
        raise PluginError(f"{plugin.kind} {plugin.name!r} is already registered by {owner}")
    _plugins[plugin.kind, plugin.name] = plugin


def _defaults(function: Callable[..., Any], name: str) -> dict[str, Any]:
    """Keyword arguments and their defaults, by the names of experiment files."""
    defaults = {}
    for param in list(inspect.signature(function).parameters.values())[1:]:
        if param.default is inspect.Parameter.empty:
            raise PluginError(f"loss {name!r}: argument {param.name!r} has no default")
        defaults[file_name(param.name)] = param.default
    return defaults


def _file_of(function: Callable[..., Any]) -> Path:
    return Path(inspect.getsourcefile(function) or function.__code__.co_filename).resolve()

"""Names to plugins: built-in tables, entry points and files; nothing else is ever imported.

A plugin is a function with a decorator, the same form for losses, data sets, backbones and metrics:

    @loss("binomial", space={"beta": Float(0.1, 0.8)}, sampler="balanced", source="arXiv:1407.4979")
    def binomial(problem: Problem, *, beta: float = 0.5) -> nn.Module: ...

Declaring is cheap: importing this module or a built-in table imports neither torch nor NumPy.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import keyword
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from lossbench.plugins.mistakes import nearest

if TYPE_CHECKING:
    import torch

Kind = Literal["loss", "dataset", "backbone", "metric"]
Sampler = Literal["uniform", "balanced"]
Function = TypeVar("Function", bound=Callable[..., Any])

KINDS: tuple[Kind, ...] = ("loss", "dataset", "backbone", "metric")
FOLDERS: dict[Kind, str] = {
    "loss": "losses",
    "dataset": "datasets",
    "backbone": "backbones",
    "metric": "metrics",
}
NAME = re.compile(r"[^\s+@\"'\\:][^+@\"'\\:\x00-\x1f]*")


class PluginError(ValueError):
    """A plugin or a name that cannot be used; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Float:
    """A real hyper-parameter: searched in [low, high] (logarithmically if `log`), allowed in `valid`.

    `valid` is what a fixed value is checked against; the search range lies inside it.

    Raises:
        PluginError: bounds that are not finite, out of order, outside `valid`, or not positive under `log`.
    """

    low: float
    high: float
    log: bool = False
    valid: tuple[float, float] = (-math.inf, math.inf)

    def __post_init__(self) -> None:
        """Reject a range that cannot be searched."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise PluginError(f"range [{self.low}, {self.high}]: low must not exceed high, both finite")
        if self.log and self.low <= 0:
            raise PluginError(f"range [{self.low}, {self.high}]: a logarithmic range starts above 0")
        if not (self.valid[0] <= self.low and self.high <= self.valid[1]):
            raise PluginError(f"range [{self.low}, {self.high}] is outside [{self.valid[0]}, {self.valid[1]}]")

    def problem_with(self, value: object) -> str | None:
        """What is wrong with a fixed value, or None."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{value!r} is not a number"
        low, high = self.valid
        if not (math.isfinite(value) and low <= value <= high):
            return f"{value} is outside [{low:g}, {high:g}]"
        return None


@dataclass(frozen=True, slots=True)
class Int:
    """A whole-number hyper-parameter: searched in [low, high] unless `tune=False`, allowed in `valid`.

    Raises:
        PluginError: bounds out of order or outside `valid`.
    """

    low: int
    high: int
    tune: bool = True
    valid: tuple[float, float] = (-math.inf, math.inf)

    def __post_init__(self) -> None:
        """Reject a range that cannot be searched."""
        if not self.low <= self.high:
            raise PluginError(f"range [{self.low}, {self.high}]: low must not exceed high")
        if not (self.valid[0] <= self.low and self.high <= self.valid[1]):
            raise PluginError(f"range [{self.low}, {self.high}] is outside [{self.valid[0]}, {self.valid[1]}]")

    def problem_with(self, value: object) -> str | None:
        """What is wrong with a fixed value, or None."""
        if isinstance(value, bool) or not isinstance(value, int):
            return f"{value!r} is not a whole number"
        if not self.valid[0] <= value <= self.valid[1]:
            return f"{value} is outside [{self.valid[0]:g}, {self.valid[1]:g}]"
        return None


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several named options; searched only with `tune=True`, else set by experiments."""

    options: tuple[str, ...]
    tune: bool = False

    def problem_with(self, value: object) -> str | None:
        """What is wrong with a fixed value, or None."""
        if value in self.options:
            return None
        return f"{value!r} is not one of {', '.join(self.options)}{nearest(str(value), self.options)}"


Range = Float | Int | Choice
DEFAULT_WEIGHT = Float(1e-2, 10.0, log=True, valid=(0.0, math.inf))


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a loss or a backbone may need to know of the task it is built for.

    Attributes:
        num_classes: classes in the training split.
        embedding_dim: D, columns of the embeddings.
        image_shape: (channels, height, width) of one input.
        generator: the CPU stream to draw initial values from.
    """

    num_classes: int
    embedding_dim: int
    image_shape: tuple[int, int, int] = (1, 28, 28)
    generator: torch.Generator | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """One registered function and what it declared.

    Attributes:
        file: the source file that registered it.
        defaults: its keyword arguments with their default values.
        space: ranges of those arguments, by the names that experiment files use.
        weight, default_weight: range and default of lambda when the loss is an added term.
        sampler: the batches a loss needs: "uniform" shuffles, "balanced" takes M per class.
        protocols: what a data set offers, or where a metric applies (empty: everywhere).
        deviations: conformance checks that the loss is known not to pass, and why.
    """

    kind: Kind
    name: str
    function: Callable[..., Any]
    source: str
    file: Path
    defaults: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, Range] = field(default_factory=dict)
    weight: Float = DEFAULT_WEIGHT
    default_weight: float = 1.0
    sampler: Sampler = "uniform"
    license: str = ""
    citation: str = ""
    protocols: tuple[str, ...] = ()
    higher_is_better: bool = True
    deviations: Mapping[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def builtin(self) -> bool:
        """Whether lossbench itself ships it."""
        return self.function.__module__.startswith("lossbench.")

    @property
    def digest(self) -> str:
        """SHA-256 of the source file that registered it."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest()

    def build(self, *args: Any, **params: Any) -> Any:
        """Call the plugin; a parameter named like a Python keyword (`lambda`) is passed as `lambda_`."""
        return self.function(*args, **{_python_name(name): value for name, value in params.items()})


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


def backbone(name: str, *, source: str = "") -> Callable[[Function], Function]:
    """Register `function(problem) -> nn.Module` mapping images (B, C, H, W) to embeddings (B, D)."""

    def register(function: Function) -> Function:
        _add(Plugin(kind="backbone", name=name, function=function, source=source, file=_file_of(function)))
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
    """The plugin of that name.

    Raises:
        PluginError: nothing of that name is registered; names the nearest one.
    """
    _load_builtin(kind)
    if (kind, name) not in _plugins:
        _load_entry_point(kind, name)
    if (kind, name) not in _plugins:
        raise PluginError(f"unknown {kind} {name!r}{nearest(name, names(kind))}")
    return _plugins[kind, name]


def names(kind: Kind, files: Iterable[str] | None = None) -> list[str]:
    """Every usable name of a kind, sorted; entry points are named without importing them.

    Args:
        files: the plugin files whose names count, where only these do: a process may have loaded others.
    """
    _load_builtin(kind)
    ignored = set() if files is None else _files.keys() - {Path(file).resolve() for file in files}
    registered = {plugin.name for plugin in _plugins.values() if plugin.kind == kind and plugin.file not in ignored}
    return sorted(registered | {point.name for point in _entry_points(kind)})


def registered_by(path: Path, kind: Kind) -> list[Plugin]:
    """The plugins of a kind that a loaded file registered, in its order."""
    return [plugin for plugin in _plugins.values() if plugin.kind == kind and plugin.file == path.resolve()]


def load_files(paths: Iterable[str | Path]) -> None:
    """Import plugin files, each once.

    Raises:
        PluginError: as `load_file`, for the first that fails.
    """
    for path in paths:
        load_file(Path(path))


def load_file(path: Path) -> str:
    """Import a plugin file once and return the SHA-256 of its source.

    Raises:
        PluginError: it is missing, does not import, registers nothing, or clashes; names file and reason.
    """
    path = path.resolve()
    try:
        source = path.read_bytes()
    except OSError as error:
        raise PluginError(f"plugin {path}: {error.strerror or error}") from error
    digest = hashlib.sha256(source).hexdigest()
    if _files.get(path) == digest:
        return digest
    for key in [key for key, plugin in _plugins.items() if plugin.file == path]:
        del _plugins[key]  # the file changed since it was loaded
    before = set(_plugins)
    try:
        _import(path, digest)
        if set(_plugins) == before:
            raise PluginError("registers nothing; decorate a function with @lossbench.loss(...)")
    except (Exception, SystemExit) as error:  # whatever a stranger's file raises is the stranger's mistake
        for key in set(_plugins) - before:
            if not _plugins[key].builtin:  # loading the file may have loaded the built-in table
                del _plugins[key]
        reason = error if isinstance(error, PluginError) else f"does not import: {type(error).__name__}: {error}"
        raise PluginError(f"plugin {path}: {reason}") from error
    _files[path] = digest
    return digest


def _import(path: Path, digest: str) -> None:
    module_name = f"lossbench_plugin_{path.stem}_{digest[:8]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise PluginError("is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)


def _add(plugin: Plugin) -> None:
    if not NAME.fullmatch(plugin.name):
        raise PluginError(f"{plugin.kind} {plugin.name!r}: a name holds no '+', '@', ':', quote or control character")
    if not plugin.builtin:
        _load_builtin(plugin.kind)
    if existing := _plugins.get((plugin.kind, plugin.name)):
        owner = "lossbench itself" if existing.builtin else existing.file
        raise PluginError(f"{plugin.kind} {plugin.name!r} is already registered by {owner}")
    _plugins[plugin.kind, plugin.name] = plugin


def _defaults(function: Callable[..., Any], name: str) -> dict[str, Any]:
    """Keyword arguments and their defaults, by the names of experiment files."""
    defaults = {}
    for param in list(inspect.signature(function).parameters.values())[1:]:
        if param.default is inspect.Parameter.empty:
            raise PluginError(f"loss {name!r}: argument {param.name!r} has no default")
        defaults[_file_name(param.name)] = param.default
    return defaults


def _file_name(python_name: str) -> str:
    """`lambda_` in Python is `lambda` in files."""
    bare = python_name.removesuffix("_")
    return bare if keyword.iskeyword(bare) else python_name


def _python_name(file_name: str) -> str:
    return f"{file_name}_" if keyword.iskeyword(file_name) else file_name


def _file_of(function: Callable[..., Any]) -> Path:
    return Path(inspect.getsourcefile(function) or function.__code__.co_filename).resolve()


def _load_builtin(kind: Kind) -> None:
    importlib.import_module(f"lossbench.{FOLDERS[kind]}.builtin")


@lru_cache  # looking through everything that is installed takes milliseconds
def _entry_points(kind: Kind) -> importlib.metadata.EntryPoints:
    return importlib.metadata.entry_points(group=f"lossbench.{FOLDERS[kind]}")


def _load_entry_point(kind: Kind, name: str) -> None:
    for point in _entry_points(kind):
        if point.name == name:
            try:
                point.load()
            except Exception as error:
                raise PluginError(
                    f"{kind} {name!r} from {point.value}: does not import: {type(error).__name__}: {error}"
                ) from error
            if (kind, name) not in _plugins:
                raise PluginError(f"{kind} {name!r} from {point.value}: registers no {kind} of that name")

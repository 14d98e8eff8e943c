"""What a plugin is: its kind, its hyper-parameters and their ranges, the problem it is built for."""

from __future__ import annotations

import hashlib
import inspect
import keyword
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lossbench.plugins.mistakes import nearest

if TYPE_CHECKING:
    import torch

Kind = Literal["loss", "dataset", "backbone", "metric"]
Sampler = Literal["uniform", "balanced"]
Input = Literal["images", "vectors"]

OBJECT = "object "  # what the digest of a plugin begins with that is no file's, but was given as a Python object

KINDS: tuple[Kind, ...] = ("loss", "dataset", "backbone", "metric")
FOLDERS: dict[Kind, str] = {
    "loss": "losses",
    "dataset": "datasets",
    "backbone": "backbones",
    "metric": "metrics",
}


class PluginError(ValueError):
    """A plugin or a name that cannot be used; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Float:
    """A real hyper-parameter: searched in [low, high] (by `log`) unless `tune=False`, allowed in `valid`.

    `valid` is what a fixed value is checked against; the search range lies inside it.

    Raises:
        PluginError: bounds that are not finite, out of order, outside `valid`, or not positive under `log`.
    """

    low: float
    high: float
    log: bool = False
    valid: tuple[float, float] = (-math.inf, math.inf)
    tune: bool = True

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
        image_shape: (channels, height, width) of one input; (F, 1, 1) where it is a vector.
        input_shape: (channels, height, width) of one image, or (F,) of one vector; left out, `image_shape`.
        generator: the CPU stream to draw initial values from.
        variant: what follows the colon of a backbone's name, as in `timm:resnet18`.
    """

    num_classes: int
    embedding_dim: int
    image_shape: tuple[int, int, int] = (1, 28, 28)
    input_shape: tuple[int, ...] = ()
    generator: torch.Generator | None = None
    variant: str = ""

    def __post_init__(self) -> None:
        """Let either shape follow from the other."""
        if not self.input_shape:
            object.__setattr__(self, "input_shape", self.image_shape)
        elif len(self.input_shape) == 1:
            object.__setattr__(self, "image_shape", (*self.input_shape, 1, 1))
        elif len(self.input_shape) == 3:
            object.__setattr__(self, "image_shape", self.input_shape)
        else:
            raise PluginError(f"input_shape {self.input_shape} is neither (C, H, W) nor (F,)")


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
        inputs: what a backbone takes, `images`, `vectors` or both; empty: not said, so anything is tried.
        variants: whether a backbone's name goes on after a colon.
        deviations: conformance checks that the loss is known not to pass, and why.
        identity: what stands for the digest of a file, of a plugin that was given as a Python object (`objects`).
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
    inputs: tuple[Input, ...] = ()
    variants: bool = False
    deviations: Mapping[str, str] = field(default_factory=dict)
    identity: str = ""

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def builtin(self) -> bool:
        """Whether lossbench itself ships it."""
        return not self.identity and self.function.__module__.startswith("lossbench.")

    @property
    def digest(self) -> str:
        """SHA-256 of the source file that registered it, or its identity where there is no file."""
        return self.identity or hashlib.sha256(self.file.read_bytes()).hexdigest()

    def build(self, *args: Any, **params: Any) -> Any:
        """Call the plugin; a parameter named like a Python keyword (`lambda`) is passed as `lambda_`."""
        return self.function(*args, **{python_name(name): value for name, value in params.items()})


def file_name(python_name: str) -> str:
    """`lambda_` in Python is `lambda` in files."""
    bare = python_name.removesuffix("_")
    return bare if keyword.iskeyword(bare) else python_name


def python_name(file_name: str) -> str:
    """`lambda` in files is `lambda_` in Python."""
    return f"{file_name}_" if keyword.iskeyword(file_name) else file_name

"""What one run is: frozen and hashed.

`RunSpec` says everything about one training run and nothing about where or when it happens; its content hash is the
`run_id`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property, lru_cache
from typing import Any, Literal

import orjson

from lossbench.specification.task import Task
from lossbench.specification.training_settings import Training
from lossbench.specification.values import Value

SCHEMA = 1  # of result and plan files


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One loss of a recipe with its weight and every parameter's value."""

    loss: str
    weight: float = 1.0
    params: tuple[tuple[str, Value], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Losses that train together for so many epochs of a run, on batches of one sampler."""

    terms: tuple[Term, ...]
    sampler: Literal["uniform", "balanced"]
    epochs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What the network of a run starts from, where that is a file.

    Attributes:
        weights: SHA-256 of the file.
        freeze, lr_factor: how the part that it fills is trained.
    """

    weights: str
    freeze: bool = False
    lr_factor: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What else a result depends on: the same spec under another provenance is another run.

    Attributes:
        data: checksum of the images, labels and splits.
        code: digest of the lossbench sources that affect results.
        plugins: (kind and name, SHA-256 of the source file) of every plugin the run uses that lossbench does not
            ship.
        libraries: (name, version) of the libraries that compute.
    """

    data: str
    code: str
    plugins: tuple[tuple[str, str], ...] = ()
    libraries: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)  # without slots: its hashes are computed once
class RunSpec:
    """One training run, whole: the same spec gives the same bits on every worker.

    Attributes:
        terms: the losses; none for a baseline, which is not trained.
        sampler: `uniform` or `balanced` batches.
        then: the second stage, which has the last epochs; `terms` and `sampler` are those of the first.
        neck: `batchnorm`, or empty for none; before_neck: the losses that see the embedding before it.
        final: whether test is embedded and scored.
        fold: the fold of the task's data set; None: the split without folds.
        deal: seed by which training and validation samples were dealt; None: the split as published or fixed.
        whole: whether a final run measures everything and keeps network and embeddings, or only what verdicts need.
        audit: whether test is scored after every epoch too, for the section on bad practice.
        start: the weights that the network starts from; None: from its own initialization.
        plugin_files, weights_file: where the plugin files of `provenance` and the weights of `start` lie; not part of
            the identity.
    """

    task: Task
    backbone: str
    embedding_dim: int
    terms: tuple[Term, ...]
    sampler: Literal["uniform", "balanced"]
    lr: float
    training: Training
    seed: int
    final: bool
    provenance: Provenance
    fold: int | None = None
    deal: int | None = None
    whole: bool = True
    audit: bool = True
    then: Stage | None = None
    start: Start | None = None
    neck: Literal["", "batchnorm"] = ""
    before_neck: tuple[str, ...] = ()
    plugin_files: tuple[str, ...] = field(default=(), compare=False)
    weights_file: str = field(default="", compare=False)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What trains, in turn; one stage unless there is a `then`."""
        later = () if self.then is None else (self.then,)
        first = self.training.epochs - sum(stage.epochs for stage in later)
        return (Stage(terms=self.terms, sampler=self.sampler, epochs=first), *later)

    @cached_property
    def key(self) -> str:
        """Hash of settings and data: two runs of one key differ in code, plugins or libraries only."""
        return _digest(self._identity())

    @cached_property
    def run_id(self) -> str:
        """Content hash, 16 hexadecimal digits."""
        return _digest({**self._identity(), "provenance": self.provenance})

    def _identity(self) -> dict[str, Any]:
        """What differs from its default, so that a setting that comes later leaves every stored run what it is.

        A changed default would give other runs the identity of stored ones: it needs a key of another name.
        """
        content = {name: value for name, value in _as_dict(self).items() if value != _DEFAULTS.get(name, _REQUIRED)}
        for name in (*NOT_SETTINGS, *(() if self.final else ("whole", "audit"))):
            content.pop(name, None)
        task = _settings(self.task, "splits")  # the deal is what comes of it
        # What follows the colon of `folder:PATH` says where data lie; the checksum says what they are.
        content["task"] = {**task, "dataset": self.task.dataset.partition(":")[0]}
        content["training"] = training = _settings(self.training, "time_limit_s")
        if not self.terms:  # a baseline is not trained: how it would have been is not part of it
            content["training"] = {name: training[name] for name in UNTRAINED if name in training}
            if self.start is not None:
                content["start"] = Start(weights=self.start.weights)
        return {**content, "data": self.provenance.data}


_REQUIRED = object()  # equal to no value
_DEFAULTS = {each.name: each.default for each in fields(RunSpec) if each.default is not MISSING}
NOT_SETTINGS = ("provenance", "plugin_files", "weights_file")
UNTRAINED = ("input_size", "device", "processes", "label_noise")  # what a network that is not trained depends on


LATER = ("then", "start", "neck", "before_neck", "weights_file")  # left out of a record where they are not used


def to_json(spec: RunSpec) -> dict[str, Any]:
    """A RunSpec as plain values for a result file."""
    plain = _as_dict(spec)
    plain |= {"task": dict(_fields(spec.task)), "training": dict(_fields(spec.training))}
    plain |= {"terms": [_as_dict(term) for term in spec.terms], "provenance": _as_dict(spec.provenance)}
    if spec.then is not None:
        plain["then"] = _as_dict(spec.then) | {"terms": [_as_dict(term) for term in spec.then.terms]}
    if spec.start is not None:
        plain["start"] = _as_dict(spec.start)
    return {name: value for name, value in plain.items() if name not in LATER or value}


@lru_cache(maxsize=64)  # thousands of runs share a task and its training
def _fields(table: Task | Training) -> dict[str, Any]:
    return table.model_dump()


@lru_cache(maxsize=64)
def _settings(table: Task | Training, *left_out: str) -> dict[str, Any]:
    """The values that differ from their defaults."""
    return table.model_dump(exclude=set(left_out), exclude_defaults=True)


def _as_dict(part: RunSpec | Term | Stage | Start | Provenance) -> dict[str, Any]:
    """The fields of a specification; unlike `dataclasses.asdict`, which copies frozen tuples item by item."""
    return {name: getattr(part, name) for name in part.__dataclass_fields__}


def from_json(plain: Mapping[str, Any]) -> RunSpec:
    """The RunSpec of `to_json`'s plain values.

    Raises:
        ValueError, TypeError, KeyError: they are not such values.
    """

    def terms(found: Mapping[str, Any]) -> tuple[Term, ...]:
        return tuple(Term(**{**term, "params": tuple(map(tuple, term["params"]))}) for term in found["terms"])

    provenance: dict[str, Any] = {
        name: value if isinstance(value, str) else tuple(map(tuple, value))
        for name, value in plain["provenance"].items()
    }
    rebuilt = {
        "task": Task.model_validate(plain["task"]),
        "training": Training.model_validate(plain["training"]),
        "terms": terms(plain),
        "then": Stage(**{**then, "terms": terms(then)}) if (then := plain.get("then")) else None,
        "start": Start(**start) if (start := plain.get("start")) else None,
        "provenance": Provenance(**provenance),
        "before_neck": tuple(plain.get("before_neck", ())),
        "plugin_files": tuple(plain["plugin_files"]),
    }
    return RunSpec(**{**plain, **rebuilt})


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(content)).hexdigest()[:16]


def canonical(content: Mapping[str, Any]) -> bytes:
    """One text for one content: keys of tables sorted, no spaces, floats in the fewest digits that give them back."""
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)

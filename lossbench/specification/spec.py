"""What an experiment file says, and what one run is: frozen, validated, hashed.

`Experiment` is the file. `RunSpec` says everything about one training run and nothing about where or when
it happens; its content hash is the `run_id`.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property, lru_cache
from typing import Annotated, Any, ClassVar, Literal, get_args

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from lossbench.plugins.mistakes import SpecError as SpecError
from lossbench.plugins.mistakes import nearest as nearest

SCHEMA = 1  # of result and plan files

Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Place = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]  # a name, or a path
Value = float | int | str
UNSEEDED = ("pixels", "features")  # baselines into which neither seed nor deal enters: the samples as they are
OF_VECTORS = ("features", "pca", "lda")  # baselines of tasks whose samples are vectors
AUTO = "auto"
AUGMENTS = ("shift", "flip", "crop", "color", "erase")
Neck = Literal["none", "batchnorm"]  # between the backbone and the losses that see the embedding after it
Seen = Literal["before", "after"]  # the neck
Negatives = Annotated[Number, Field(gt=0, le=1)]  # share of the classes at a step


class Table(BaseModel):
    """A table of an experiment file: unknown keys are mistakes, values never change.

    Attributes:
        later: keys that are written only where they are used, as what was stored before they came does not have them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    later: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _as_before(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unused = {name for name in self.later if getattr(self, name) == type(self).model_fields[name].default}
        return {name: value for name, value in written(self).items() if name not in unused}


class Task(Table):
    """A data set under a protocol.

    Attributes:
        train_classes: train on this many of the training classes only (the same for every run of a study).
        val_classes: validate on this many of the validation classes only, where these are classes of their own.
        input_size: edge of this task's input in pixels; absent, `training.input_size`.
        fit: how pictures that are not square become so: their middle (`crop`), the whole on gray (`pad`) or `stretch`.
        label_noise: share of wrong labels in this task's training and validation; absent, `training.label_noise`.
        splits: `dealt`: every study deals training and validation anew, as far as the protocol leaves them free;
            `fixed`: all studies have the one split.
    """

    dataset: Place
    protocol: Name
    train_classes: Annotated[Whole, Field(ge=2)] | None = None
    val_classes: Annotated[Whole, Field(ge=2)] | None = None
    input_size: Annotated[Whole, Field(ge=4, le=1024)] | None = None
    fit: Literal["crop", "pad", "stretch"] = "crop"
    label_noise: Annotated[Number, Field(ge=0, lt=1)] | None = None
    splits: Literal["dealt", "fixed"] = "dealt"

    @property
    def key(self) -> str:
        """`glyphs/open-set`; with 100 training classes and a fifth of wrong labels `glyphs/open-set/100/noise=0.2`."""
        parts = [self.dataset, self.protocol]
        parts += [] if self.train_classes is None else [str(self.train_classes)]
        parts += [] if self.label_noise is None else [f"noise={self.label_noise:g}"]
        return "/".join(parts)


def named_in(key: str) -> tuple[str, str]:
    """Data set and protocol of a `Task.key`; the path of a data set may have slashes of its own.

    >>> named_in("folder:/my/own/open-set/100/noise=0.2")
    ('folder:/my/own', 'open-set')
    """
    parts = key.split("/")
    while parts[-1].isdecimal() or parts[-1].startswith("noise="):
        parts.pop()
    return "/".join(parts[:-1]), parts[-1]


class RecipeEntry(Table):
    """A recipe under a name of the experiment's own: `{ name = "weak", use = "softmax+center" }`.

    A plain string is both. `neck`, `negatives`: its own in place of the experiment's.
    """

    later = ("negatives",)

    name: Name
    use: Name
    neck: Neck | None = None
    negatives: Negatives | None = None


def _or_auto(given: Any, number: ValidatorFunctionWrapHandler) -> Any:
    return given if given == AUTO else number(given)


def _recipe_entry(item: Any) -> Any:
    return {"name": item, "use": item} if isinstance(item, str) else item


def _kinds(given: Any) -> Any:
    """A list of kinds in the order in which they are applied; one may stand without a list, and `none` is none."""
    kinds = ([] if given == "none" else [given]) if isinstance(given, str) else given
    if not isinstance(kinds, (list, tuple)):
        return given
    if twice := [repr(kind) for kind, count in Counter(map(str, kinds)).items() if count > 1]:
        raise ValueError(f"{', '.join(twice)} is listed twice")
    return tuple(sorted(kinds, key=lambda kind: AUGMENTS.index(kind) if kind in AUGMENTS else len(AUGMENTS)))


Augmentations = Annotated[
    tuple[Literal["shift", "flip", "crop", "color", "erase"], ...],
    BeforeValidator(_kinds),
    # `none` and `shift` are as files and stored runs have had them since before there were lists
    PlainSerializer(lambda kinds: (kinds or ("none",))[0] if len(kinds) < 2 else list(kinds), return_type=Any),
]


class Training(Table):
    """One setting for every recipe of an experiment.

    Attributes:
        epochs: passes over the training split; an epoch is floor(N / batch_size) full batches. A file may say `auto`:
            then a pilot finds a number before the first study; the type is that of every run.
        validations: how many times validation is scored while a run trains, at evenly spaced epochs, the last one among
            them; the untrained network is scored beside them. Absent, after every epoch.
        batch_size: images in a batch, for every sampler.
        samples_per_class: M of the balanced sampler.
        optimizer: `adam` or `sgd` (with `momentum`).
        weight_decay: on weights of the backbone and of losses; biases and one-dimensional parameters have none.
        schedule: `constant`, `cosine` to zero, `step` (times 0.8 at half and at four fifths of the steps), or
            `warmup-cosine` (from a tenth to the whole in the first tenth of the steps, then `cosine`).
        label_noise: share of training and validation labels replaced by another class; test is never touched.
        augment: what becomes of pictures in training (`lossbench.run.augmentation`); a file may name one, or `none`.
        input_size: edge of the input in pixels; absent, the data set's own.
        device: where to train; results are bit-identical on `cpu` only.
        processes: how many share each batch of one run, under `torchrun`; sums round differently, so it counts as a
            setting.
        negatives: share of the classes of a head that a step trains, those of the batch among them; of losses that
            can draw some (`lossbench.specification.negatives`).
        precision: of the network's forward and backward pass in training, `float32` or `bf16` (autocast); losses,
            updates and evaluation are float32.
        time_limit_s: a run that takes longer is stopped and recorded as failed.
    """

    later = ("negatives",)

    epochs: Annotated[
        Whole, Field(ge=1, le=100_000), WrapValidator(_or_auto), PlainSerializer(lambda epochs: epochs, return_type=Any)
    ] = 15
    validations: Annotated[Whole, Field(ge=1)] | None = None
    batch_size: Annotated[Whole, Field(ge=4)] = 64
    samples_per_class: Annotated[Whole, Field(ge=2)] = 4
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[Number, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine", "step", "warmup-cosine"] = "constant"
    label_noise: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    augment: Augmentations = ()
    input_size: Annotated[Whole, Field(ge=4, le=1024)] | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    processes: Annotated[Whole, Field(ge=1)] = 1
    negatives: Negatives = 1.0
    precision: Literal["float32", "bf16"] = "float32"
    time_limit_s: Annotated[Number, Field(gt=0)] | None = None

    @property
    def piloted(self) -> bool:
        """Whether the number of epochs is still to be found."""
        return str(self.epochs) == AUTO


def _factor(given: Any) -> Any:
    """A number is a range of that number alone."""
    if isinstance(given, (Mapping, Factor)):
        return given
    if type(given) not in (int, float):
        raise ValueError(f"{given!r} is neither a number nor a table {{ low, high, log }}")
    if not 0 <= given <= 1000:
        raise ValueError(f"{given:g} is outside [0, 1000]")
    return {"low": given, "high": given}


class Factor(Table):
    """A factor of the learning rate: one for all recipes, or a range that every recipe searches."""

    low: Annotated[Number, Field(ge=0, le=1000)]
    high: Annotated[Number, Field(ge=0, le=1000)]
    log: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _in_order(self) -> Factor:
        if self.low > self.high:
            raise ValueError(f"low, {self.low:g}, is more than high, {self.high:g}")
        if self.log and not self.low:
            raise ValueError("a logarithmic range starts above 0")
        return self

    @property
    def searched(self) -> bool:
        """Whether there is something to search."""
        return self.low < self.high

    @property
    def middle(self) -> float:
        """The middle of the range by its own scale; the value where it is one."""
        if not self.searched:
            return self.low
        return math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2


class Pretrained(Table):
    """The weights that the network starts from, the same for every recipe.

    Attributes:
        weights: a file of tensors, relative to the experiment file or to the working directory. What it fills is the
            trunk; what it lacks, or has in another shape, starts anew and must be the network's last layers.
        freeze: whether the trunk stays as it came.
        lr_factor: of the learning rate for the trunk.
    """

    weights: Annotated[str, Field(min_length=1)]
    freeze: Annotated[bool, Field(strict=True)] = False
    lr_factor: Annotated[Factor, BeforeValidator(_factor)] = Factor(low=1.0, high=1.0)

    @field_serializer("lr_factor")
    def _as_written(self, factor: Factor) -> Any:
        return factor.model_dump() if factor.searched else factor.low

    @model_validator(mode="after")
    def _something_to_train(self) -> Pretrained:
        if self.freeze and (self.lr_factor.searched or self.lr_factor.low != 1.0):
            raise ValueError("lr_factor is that of a trunk that is trained; leave it or `freeze` out")
        return self


class Several(Table):
    """Studies until the top is decided: at least `least`, at most `most`; looks are those of the fixed schedule."""

    least: Annotated[Whole, Field(ge=1, le=10_000)]
    most: Annotated[Whole, Field(ge=1, le=10_000)]

    @field_validator("most")
    @classmethod
    def _not_fewer(cls, most: int, given: ValidationInfo) -> int:
        if most < given.data.get("least", 1):
            raise ValueError(f"{most} is fewer than the least, {given.data['least']}")
        return most


def _several(given: Any) -> Any:
    """A number of studies is that many at least and at most."""
    if isinstance(given, int) and not isinstance(given, bool):
        if given < 1:
            raise ValueError(f"{given} is less than 1")
        return {"least": given, "most": given}
    if isinstance(given, (Mapping, Several)):
        return given
    raise ValueError(f"{given!r} is neither a whole number nor a table {{ least, most }}")


class Budget(Table):
    """How much every recipe gets; the same for all.

    Attributes:
        studies: repetitions of the whole task: a deal of the split, a search for every recipe, a choice, final runs.
        trials: points that the search of a recipe tries in a study; trial 0 is the default parameters.
        candidates: the highest trials that are tried again, beside the default, before one of them is chosen.
        candidate_seeds: fresh runs of each candidate, which alone decide.
        seeds: final runs of a recipe in a study.
        longer: studies, from the first, whose chosen points are trained for twice the epochs too, with the seeds of the
            first two final runs.
        racing: whether recipes that are clearly beaten leave (`lossbench.sweep.stopping`).
    """

    studies: Annotated[Several, BeforeValidator(_several)] = Several(least=7, most=7)
    trials: Annotated[Whole, Field(ge=1, le=10_000)] = 6
    candidates: Annotated[Whole, Field(ge=1, le=10_000)] = 2
    candidate_seeds: Annotated[Whole, Field(ge=1, le=10_000)] = 2
    seeds: Annotated[Whole, Field(ge=1, le=10_000)] = 2
    longer: Annotated[Whole, Field(ge=0, le=10_000)] = 4
    racing: Annotated[bool, Field(strict=True)] = False

    @field_serializer("studies")
    def _as_written(self, studies: Several) -> Any:
        return studies.least if studies.least == studies.most else studies.model_dump()


def _two_sides(given: Any) -> Any:
    """A recipe, and another one or a number: all that a comparison can be."""
    sides = tuple(given) if isinstance(given, (list, tuple)) else ()
    kinds = [isinstance(side, str) and bool(side) for side in sides]
    number = len(sides) == 2 and type(sides[1]) in (int, float) and math.isfinite(sides[1])
    if len(sides) != 2 or not kinds[0] or not (kinds[1] or number):
        raise ValueError(f"{given!r} is neither [recipe, recipe] nor [recipe, number]")
    if sides[0] == sides[1]:
        raise ValueError(f"{sides[0]!r} is compared with itself")
    return sides


class Claim(Table):
    """What an experiment expects of one figure; claims of one text are parts of one claim.

    Attributes:
        metric: a column of the results table, or a figure that `lossbench.specification.claims` derives.
        comparison: a recipe, and the recipe or the number that it is held against.
        direction: what is claimed of the first side. `higher`, `lower`: by `smallest_effect` at least; `not lower`,
            `not higher`: by less than that, if at all; `equal`: within that much either way.
        smallest_effect: the smallest effect that matters, in the unit of the metric.
        task: a task, a data set or a protocol that the claim is about; absent, every task.
        source: who claimed it.
    """

    text: Annotated[str, Field(min_length=1, max_length=500)]
    metric: Name
    comparison: Annotated[tuple[str, str | float], BeforeValidator(_two_sides)]
    direction: Literal["higher", "lower", "not lower", "not higher", "equal"]
    smallest_effect: Annotated[Number, Field(ge=0)]
    task: Name | None = None
    source: str = ""

    @field_validator("smallest_effect")
    @classmethod
    def _matters(cls, effect: float, given: ValidationInfo) -> float:
        direction = given.data.get("direction")
        if effect == 0 and direction in ("equal", "not lower", "not higher"):
            raise ValueError(f"0 leaves nothing to show of {direction!r}; it must be positive")
        return effect


class Resources(Table):
    """What one run takes of the machine it runs on; no part of what the run is.

    Attributes:
        cpus: cores. A run computes on one thread; more leave room for what its libraries start.
        gpus: share of a GPU, 0.25 for four runs on one; above 1, whole GPUs.
        checkpoint_s: seconds after which the state of a run is kept, at the end of an epoch; absent, never.
    """

    cpus: Annotated[Number, Field(gt=0, le=4096)] = 1.0
    gpus: Annotated[Number, Field(ge=0, le=1024)] = 0.0
    checkpoint_s: Annotated[Number, Field(ge=0, le=1e6)] | None = None


def _seen(given: Any) -> Any:
    """Where a loss looks, or a table of such."""
    for place in given.values() if isinstance(given, Mapping) else (given,):
        if place not in get_args(Seen):
            raise ValueError(f"{place!r} is not 'before' or 'after' the neck{nearest(str(place), get_args(Seen))}")
    return given


class Experiment(Table):
    """The experiment file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    question: str = ""
    seed: Annotated[Whole, Field(ge=0, lt=2**63)] = 0  # of all that is random: another one repeats the whole work
    tasks: Annotated[tuple[Task, ...], Field(min_length=1)]
    backbone: Name
    embedding_dim: Annotated[Whole, Field(ge=1, le=65536)] = 32
    neck: Neck = "none"
    recipes: Annotated[tuple[Annotated[RecipeEntry, BeforeValidator(_recipe_entry)], ...], Field(min_length=1)]
    baselines: tuple[Literal["untrained", "pixels", "features", "pca", "lda"], ...] = ("untrained", "pixels")
    plugins: tuple[str, ...] = ()
    training: Training = Training()
    pretrained: Pretrained | None = None
    budget: Budget = Budget()
    resources: Resources = Resources()
    params: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    # by loss, for all recipes; by recipe and loss, for one
    terms: Mapping[str, Annotated[Any, BeforeValidator(_seen)]] = Field(default_factory=dict)
    claims: tuple[Claim, ...] = ()

    @field_validator("tasks", "recipes", "baselines", "plugins")
    @classmethod
    def _listed_once(cls, items: tuple[Any, ...]) -> tuple[Any, ...]:
        counts = Counter(_name_of(item) for item in items)
        twice = [repr(name) for name, count in counts.items() if count > 1]
        if twice:
            raise ValueError(f"{', '.join(twice)} is listed twice")
        return items


def _name_of(item: Any) -> str:
    match item:
        case Task():
            return item.key
        case RecipeEntry():
            return item.name
        case _:
            return str(item)


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

"""`[training]` of an experiment file: how every recipe is trained."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, ValidatorFunctionWrapHandler, WrapValidator

from lossbench.specification.values import Number, Table, Whole

AUTO = "auto"
AUGMENTS = ("shift", "flip", "crop", "color", "erase")
Negatives = Annotated[Number, Field(gt=0, le=1)]  # share of the classes at a step


def _or_auto(given: Any, number: ValidatorFunctionWrapHandler) -> Any:
    return given if given == AUTO else number(given)


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

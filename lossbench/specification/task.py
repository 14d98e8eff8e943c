"""`[[tasks]]` of an experiment file: a data set under a protocol."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lossbench.specification.values import Name, Number, Place, Table, Whole


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

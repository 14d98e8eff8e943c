"""The one training loop, the same for every recipe."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lossbench.backbones.trunk import Trunk
from lossbench.run import parallel
from lossbench.run.augmentation import Augmentation, augmented
from lossbench.run.clock import Clock, TimeLimitError
from lossbench.run.necks import AFTER, BEFORE, Necked
from lossbench.run.rows import Samples
from lossbench.run.sampled import move_parts_only
from lossbench.run.sampling import batch_plan
from lossbench.run.seeding import stream
from lossbench.run.unfinished import Unfinished, attributes, seed_globals_as, set_attributes
from lossbench.specification.spec import RunSpec, Stage
from lossbench.specification.training_settings import Training

State = dict[str, dict[str, Tensor]]


@dataclass(slots=True)
class WeightedLoss:
    """A term of the recipe, built: `total = sum of weight * module(embeddings, labels)`.

    `before`: whether it sees the embedding before the network's neck.
    """

    name: str
    weight: float
    module: nn.Module
    before: bool = False


@dataclass(slots=True)
class Model:
    """What is trained: the network and the modules of the losses.

    Attributes:
        losses: of the stage that trains, or whose state was put back.
        stages: the losses of every stage, where there are several.
        trunk: what of the network came from a file.
    """

    network: nn.Module
    losses: list[WeightedLoss]
    stages: tuple[list[WeightedLoss], ...] = ()
    trunk: Trunk | None = None

    @property
    def stage(self) -> int:
        """Which stage the losses are of, from 0."""
        return next((number for number, losses in enumerate(self.stages) if losses is self.losses), 0)

    @property
    def every_loss(self) -> list[WeightedLoss]:
        """The losses of all stages."""
        return [term for losses in self.stages or (self.losses,) for term in losses]

    def seen(self) -> list[tuple[nn.Module, list[WeightedLoss]]]:
        """What the losses see, as the network up to there, with those that do; both places of a neck."""
        before = [term for term in self.losses if term.before]
        after = [term for term in self.losses if not term.before]
        upto = [(self.network.backbone, before)] if isinstance(self.network, Necked) else []
        return [*upto, (self.network, after)]

    def parts(self) -> dict[str, nn.Module]:
        """Every module by a stable name."""
        return {"network": self.network} | {f"loss.{term.name}": term.module for term in self.losses}

    def train(self, mode: bool) -> None:
        """Put every part into training or evaluation mode."""
        for part in self.parts().values():
            part.train(mode)
        if self.trunk is not None:
            self.trunk.hold()

    def state(self) -> State:
        """A copy of every parameter and buffer."""
        return {
            name: {key: value.clone() for key, value in part.state_dict().items()}
            for name, part in self.parts().items()
        }

    def load(self, state: State) -> None:
        """Put a state back."""
        for name, part in self.parts().items():
            part.load_state_dict(state[name])

    def is_finite(self) -> bool:
        """Whether every floating-point parameter and stored buffer is finite; one wait for a device."""
        values = [value for part in self.parts().values() for value in part.state_dict().values()]
        ends = [end for value in values if value.is_floating_point() and value.numel() for end in value.aminmax()]
        return not ends or bool(torch.stack(ends).isfinite().all())


@dataclass(slots=True)
class History:
    """What training recorded.

    Attributes:
        curves: one value for each epoch that was validated, epoch 0 (untrained) first; `epoch` numbers them; NaN where
            there is none.
        best_epoch: the epoch of the highest validation score, the first of equals.
        best_state, best_losses: the model at that epoch, and the losses of its stage.
        steps, images: optimizer steps taken and images seen.
        cpu_s: CPU seconds of training, evaluation left out.
        diverged_epoch: the epoch that ended with a value that is not finite, if any.
    """

    curves: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int = 0
    best_score: float = -math.inf
    best_state: State = field(default_factory=dict)
    best_losses: list[WeightedLoss] = field(default_factory=list)
    steps: int = 0
    images: int = 0
    cpu_s: float = 0.0
    diverged_epoch: int | None = None

    def record(self, **values: float) -> None:
        """Append one epoch to the curves."""
        for name, value in values.items():
            self.curves.setdefault(name, []).append(value)


class Watched(Protocol):
    """Whoever looks at a run while it trains, and remembers what was seen."""

    def state(self) -> dict[str, Any]:
        """What is remembered, as tensors and plain values."""

    def load(self, kept: dict[str, Any]) -> None:
        """Remember it again."""


def train(
    model: Model,
    images: Samples,
    labels: Tensor,
    spec: RunSpec,
    clock: Clock,
    validate: Callable[[int], dict[str, float] | None],
    unfinished: Unfinished | None = None,
    watched: Watched | None = None,
) -> History:
    """Train for `spec.training.epochs` epochs and remember the best by `validate`'s `val_map_at_r`.

    Where several processes train together, each takes its share of every batch (`parallel`).

    A second stage goes on with the network, and has losses, optimizer, schedule and order of the samples of its own.

    Nothing waits for a device within an epoch: batches and augmentation are drawn on the host before the first step,
    sums of the losses are read after the last.

    Args:
        images: (N, C, H, W) uint8 or (N, F) floating of the training split, on the device to train on.
        labels: (N,) int64 in 0..C-1, there too.
        validate: scores the model after an epoch of `validated_epochs`; None where its embeddings are not finite.
        unfinished: where the state is kept between epochs, and found again: the same bits come of it.
        watched: what `validate` remembers, to be kept with it.

    Raises:
        TimeLimitError: more than `time_limit_s` seconds at the end of an epoch, evaluation included.
    """
    settings = spec.training
    steps_per_epoch = max(1, len(labels) // settings.batch_size)
    precision = autocast(settings)
    starts = _starts(spec)
    turn = _begin(model, spec, 0, 0)
    silent = {f"loss.{term.name}": math.nan for losses in model.stages for term in losses}  # of the other stage
    validated = validated_epochs(settings)
    history = History()
    moving = _Moving(model, history, clock, watched)
    done = 0
    if unfinished is not None and (kept := unfinished.load()) is not None:
        turn = _begin(model, spec, kept["stage"], kept["taken"])
        done = moving.load(kept, turn)
    else:
        _keep(history, model, 0, validate(0), {"loss": math.nan, "coverage": math.nan, "wall_s": 0.0})
        clock.lap("evaluation")

    for epoch in range(done + 1, settings.epochs + 1):
        if epoch > done + 1 and unfinished is not None and unfinished.is_due:
            unfinished.save(moving.state(epoch - 1, turn))
        began_cpu_s = time.process_time()
        if epoch > 1 and epoch in starts:
            turn = _begin(model, spec, starts[epoch], history.steps)
        factor = rate_factor(settings, steps_per_epoch * turn.stage.epochs)
        plan = batch_plan(
            turn.stage.sampler,
            labels,
            batch_size=settings.batch_size,
            samples_per_class=settings.samples_per_class,
            generator=turn.order,
        ).to(images.device)
        drawn = turn.augmentation.draw(plan, images.shape, images.device)
        model.train(True)
        sums = [torch.zeros((), device=images.device) for _ in model.losses]  # of their values; read once an epoch
        own = parallel.share(plan.shape[1])  # of every batch; all of it, where this process trains alone
        for step, (indices, targets) in enumerate(zip(plan[:, own], labels[plan], strict=True)):
            batch = augmented(to_input(images[indices]), drawn, step, own)
            clock.lap("sampling")
            with precision:
                embeddings = model.network(batch)
            embeddings = parallel.gather(embeddings.float(), len(targets))  # losses compute in float32
            clock.lap("forward")
            total, values = combine(model.losses, embeddings, targets)
            clock.lap("loss")
            turn.optimizer.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            parallel.sum_gradients(model.network)
            clock.lap("backward")
            now = factor(history.steps - turn.taken + step)
            for group in turn.optimizer.param_groups:
                group["lr"] = spec.lr * group["lr_factor"] * now
            turn.optimizer.step()
            for running, value in zip(sums, values, strict=True):
                running += value
            clock.lap("optimizer")
        history.steps += len(plan)
        history.images += plan.numel()
        history.cpu_s += time.process_time() - began_cpu_s
        if settings.time_limit_s is not None and parallel.from_first(clock.total_s) > settings.time_limit_s:
            raise TimeLimitError(f"ran longer than {settings.time_limit_s:g} s (training.time_limit_s)")
        model.train(False)
        parallel.synchronize(model.parts().values())
        means = [value / len(plan) for value in torch.stack(sums).tolist()]
        loss = sum(term.weight * mean for term, mean in zip(model.losses, means, strict=True) if term.weight)
        finite = parallel.everywhere(math.isfinite(loss) and model.is_finite())
        if finite and epoch not in validated:
            clock.lap("evaluation")
            continue
        coverage = int(plan.flatten().bincount().count_nonzero()) / len(labels)
        scores = parallel.from_first(validate(epoch) if finite else None)
        facts = {"loss": loss, "coverage": coverage, "wall_s": clock.training_s}
        facts |= silent | {f"loss.{term.name}": mean for term, mean in zip(model.losses, means, strict=True)}
        clock.lap("evaluation")
        if not _keep(history, model, epoch, scores, facts):
            break
    return history


def _starts(spec: RunSpec) -> dict[int, int]:
    """The epoch with which each stage begins, to its number from 0."""
    found, first = {}, 1
    for number, stage in enumerate(spec.stages):
        found[first] = number
        first += stage.epochs
    return found


def _of_stage(name: str, number: int) -> str:
    """The stream of that name of a stage: a second one meets the samples in another order than the first did."""
    return f"{name}.stage.{number}" if number else name


@dataclass(slots=True)
class _Turn:
    """A stage under way: optimizer, schedule and streams are its own.

    Attributes:
        taken: steps of the stages before it.
    """

    number: int
    stage: Stage
    taken: int
    optimizer: torch.optim.Optimizer
    order: torch.Generator
    augmentation: Augmentation

    def streams(self) -> dict[str, torch.Generator]:
        """Every generator that draws while it trains."""
        return {"order": self.order} | {f"augment.{name}": each for name, each in self.augmentation.streams.items()}


def _begin(model: Model, spec: RunSpec, number: int, taken: int) -> _Turn:
    """The stage of that number; its losses are now the model's."""
    model.losses = model.stages[number] if model.stages else model.losses
    return _Turn(
        number,
        spec.stages[number],
        taken,
        make_optimizer(model, spec.training, spec.lr),
        stream(spec.seed, _of_stage("order", number)),
        Augmentation(spec.training.augment, spec.seed, _of_stage("augment", number)),
    )


@dataclass(slots=True)
class _Moving:
    """All that training moves, as tensors and plain values."""

    model: Model
    history: History
    clock: Clock
    watched: Watched | None

    def state(self, epoch: int, turn: _Turn) -> dict[str, Any]:
        """The state after an epoch."""
        history = {each.name: getattr(self.history, each.name) for each in fields(History)}
        history["best_losses"] = next(
            (number for number, losses in enumerate(self.model.stages) if losses is self.history.best_losses), 0
        )
        return {
            "epoch": epoch,
            "stage": turn.number,
            "taken": turn.taken,
            "model": self.model.state(),
            "attributes": [attributes(part) for part in self._modules()],
            "optimizer": turn.optimizer.state_dict(),
            "history": history,
            "streams": {name: generator.get_state() for name, generator in turn.streams().items()},
            "seconds": dict(self.clock.seconds),
            "watched": None if self.watched is None else self.watched.state(),
        }

    def _modules(self) -> list[nn.Module]:
        """The network and the losses of all stages, which count what they do beyond their own."""
        return [self.model.network, *(term.module for term in self.model.every_loss)]

    def load(self, kept: dict[str, Any], turn: _Turn) -> int:
        """Put a state back; the number of epochs that are done."""
        self.model.load(kept["model"])
        for module, values in zip(self._modules(), kept["attributes"], strict=True):
            set_attributes(module, values)
        turn.optimizer.load_state_dict(kept["optimizer"])
        for name, value in kept["history"].items():
            setattr(self.history, name, value)
        stages = self.model.stages or (self.model.losses,)
        self.history.best_losses = stages[kept["history"]["best_losses"]]
        for name, generator in turn.streams().items():
            generator.set_state(kept["streams"][name])
        for part, seconds in kept["seconds"].items():
            self.clock.seconds[part] += seconds
        if self.watched is not None:
            self.watched.load(kept["watched"])
        seed_globals_as(kept)
        done: int = kept["epoch"]
        return done


def validated_epochs(settings: Training) -> tuple[int, ...]:
    """The epochs after which validation is scored, evenly spaced; the last is always one.

    >>> validated_epochs(Training(epochs=10, validations=4))
    (2, 5, 7, 10)
    """
    count = min(settings.validations or settings.epochs, settings.epochs)
    return tuple(settings.epochs * turn // count for turn in range(1, count + 1))


def combine(losses: list[WeightedLoss], embeddings: Tensor, labels: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The weighted sum of the terms and the value of each; a term of weight 0 moves its state only.

    Args:
        embeddings: (B, D); of a network with a neck (B, 2, D), before and after it.
    """
    total: Tensor | None = None
    values = []
    for term in losses:
        seen = embeddings if embeddings.ndim == 2 else embeddings[:, BEFORE if term.before else AFTER]
        value = term.module(seen, labels)
        values.append(value.detach())
        if term.weight:
            weighted = value if term.weight == 1.0 else term.weight * value
            total = weighted if total is None else total + weighted
    return (embeddings.new_zeros(()) if total is None else total), values


def to_input(images: Tensor) -> Tensor:
    """uint8 (B, C, H, W) to float32 in [-1, 1): (x - 127.5) / 128, as the authors of centre loss scale.

    Vectors (B, F), which come as floating numbers, become float32 and are not scaled.
    """
    if images.is_floating_point():
        return images.float()
    return images.float().sub_(127.5).div_(128.0)


def autocast(settings: Training) -> contextlib.AbstractContextManager[Any]:
    """What the network trains under: nothing, or bfloat16 in the operations that torch holds to bear it."""
    if settings.precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(settings.device, dtype=torch.bfloat16)


def make_optimizer(model: Model, settings: Training, lr: float) -> torch.optim.Optimizer:
    """One optimizer over network and losses; weight decay only on parameters of two or more dimensions.

    Each group says its `lr_factor`, which is 1 but for a trunk that learns at a rate of its own.
    """
    params = [param for part in model.parts().values() for param in part.parameters() if param.requires_grad]
    groups = [
        {**group, "lr": lr * factor, "lr_factor": factor}
        for part, factor in _by_rate(params, model.trunk)
        for group in _by_decay(part, settings.weight_decay)
    ]
    optimizer: torch.optim.Optimizer
    if settings.optimizer == "adam":
        optimizer = torch.optim.Adam(groups, lr=lr, fused=True)
    else:
        optimizer = torch.optim.SGD(groups, lr=lr, momentum=settings.momentum, fused=True)
    move_parts_only(optimizer, model.parts().values())
    return optimizer


def _by_rate(params: list[nn.Parameter], trunk: Trunk | None) -> list[tuple[list[nn.Parameter], float]]:
    """Parameters with the factor of their learning rate, as few groups as there are factors."""
    if trunk is None or trunk.lr_factor == 1.0:
        return [(params, 1.0)]
    slow = set(map(id, trunk.parameters))
    rest = [param for param in params if id(param) not in slow]
    return [([param for param in params if id(param) in slow], trunk.lr_factor), *([(rest, 1.0)] if rest else [])]


def _by_decay(params: list[nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """Groups of an optimizer; a second group is a second call of the fused step."""
    if not decay:
        return [{"params": params}]
    return [
        {"params": [param for param in params if param.ndim > 1], "weight_decay": decay},
        {"params": [param for param in params if param.ndim <= 1], "weight_decay": 0.0},
    ]


def rate_factor(settings: Training, steps: int) -> Callable[[int], float]:
    """The factor on the learning rate at each of so many steps.

    Warm-up as Luo et al. 2019 (arXiv:1903.07071, section 3.1) have it, from a tenth and linear, in the first tenth of
    the steps; they let steps follow, not a cosine.
    """
    warm = max(1, steps // 10)
    factors: dict[str, Callable[[int], float]] = {
        "constant": lambda step: 1.0,
        "cosine": lambda step: 0.5 * (1.0 + math.cos(math.pi * min(step, steps) / steps)),
        "step": lambda step: 0.8 ** ((step >= 0.5 * steps) + (step >= 0.8 * steps)),
        "warmup-cosine": lambda step: (
            0.1 + 0.9 * step / warm
            if step < warm
            else 0.5 * (1.0 + math.cos(math.pi * (min(step, steps) - warm) / max(1, steps - warm)))
        ),
    }
    return factors[settings.schedule]


def _keep(history: History, model: Model, epoch: int, scores: dict[str, float] | None, facts: dict[str, float]) -> bool:
    """Record an epoch; False where it diverged."""
    if scores is None:
        history.diverged_epoch = epoch
        return False
    history.record(epoch=epoch, **facts, **scores)
    if scores["val_map_at_r"] > history.best_score:
        history.best_epoch, history.best_score = epoch, scores["val_map_at_r"]
        history.best_state, history.best_losses = model.state(), model.losses
    return True

"""`execute(spec) -> RunResult`: one training run, a pure call that anything which runs functions can make."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lossbench.backbones.trunk import Trunk, trunk_of
from lossbench.backbones.weights import put_into, read
from lossbench.plugins import Kind, PluginError, Problem, registry
from lossbench.run import device, evaluation, parallel, sharding
from lossbench.run.clock import PARTS, Clock, make_clock, peak_memory_bytes, reset_peak_memory
from lossbench.run.data import TaskData, task_data, with_label_noise
from lossbench.run.figures import evaluate
from lossbench.run.history import History
from lossbench.run.kept import checkpoint
from lossbench.run.model import Model, WeightedLoss
from lossbench.run.necks import Necked
from lossbench.run.observing import Observer
from lossbench.run.seeding import seed_globals, stream
from lossbench.run.training import train
from lossbench.run.unfinished import Saving, Unfinished
from lossbench.specification.spec import SCHEMA, RunSpec, to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What one run leaves: plain figures, arrays to draw, and the model of a final run.

    Attributes:
        record: the content of `result.json`.
        arrays: the content of `embeddings.npz`; of a whole final run only.
        audit: test scores of every validated epoch, read by the report's section on bad practice only.
        checkpoint: `torch.save` bytes of the state at the best epoch, loadable with `weights_only=True`; of a whole
            final run of a recipe only.
    """

    record: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    checkpoint: bytes | None = None


def execute(spec: RunSpec, saving: Saving | None = None) -> RunResult:
    """Train and evaluate one specification on one thread; in a group (`parallel`), every rank calls this.

    With `saving`, a run that was stopped goes on from where its state was kept last; no figure depends on that.
    A run that raises is recorded as `failed` with its reason: the same call would only raise again.

    Raises:
        DisagreementError: this rank left the run, another one waits in it.
        SystemExit: the run took the GPU from this process, which can do nothing more with it.
    """
    where = spec.training.device
    device.set_up(where)
    reset = reset_peak_memory(where)
    started, started_cpu = time.perf_counter(), time.process_time()
    result, error = RunResult(record={"status": "failed"}), None
    unfinished = Unfinished(spec, saving)
    try:
        result = _run(spec, unfinished)
    except Exception as raised:
        error = _one_line(raised)
        if device.is_lost(where):  # every later run of this process would fail with it
            raise SystemExit(f"the GPU answers this process no more: {error}") from raised
    if reason := parallel.agree(error):
        result = RunResult(record={"status": "failed", "error": reason})
    result.record["cost"] = result.record.get("cost", {}) | {
        "run_wall_s": unfinished.spent[0] + time.perf_counter() - started,
        "run_cpu_s": unfinished.spent[1] + time.process_time() - started_cpu,
        "peak_memory_bytes": peak_memory_bytes(where) if reset else math.nan,
    }
    result.record.update(
        schema=SCHEMA, run_id=spec.run_id, key=spec.key, spec=to_json(spec), environment=device.environment(where)
    )
    return result


def build(spec: RunSpec, data: TaskData) -> Model:
    """Network and losses of a spec, each from its own stream of the seed: terms never shift each other."""
    problem = Problem(
        num_classes=data.num_classes,
        embedding_dim=spec.embedding_dim,
        input_shape=tuple(data.train.images.shape[1:]),
    )

    def make(kind: Kind, name: str, params: dict[str, Any]) -> nn.Module:
        seed_globals(spec.seed, f"init.{name}")
        own = replace(problem, generator=stream(spec.seed, f"init.{name}"), variant=name.partition(":")[2])
        module: nn.Module = registry.find(kind, name).build(own, **params)
        draws = stream(spec.seed, f"negatives.{name}.{parallel.rank()}")
        return sharding.sharded(module, spec.training.negatives, draws).to(spec.training.device)

    network = make("backbone", spec.backbone, {})
    if spec.neck:
        network = Necked(network, spec.embedding_dim).to(spec.training.device)
    network = parallel.with_global_statistics(network)
    trunk = _started(network.backbone if isinstance(network, Necked) else network, spec)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in the stubs
    stages = tuple(
        [
            WeightedLoss(
                term.loss, term.weight, make("loss", term.loss, dict(term.params)), term.loss in spec.before_neck
            )
            for term in stage.terms
        ]
        for stage in spec.stages
    )
    seed_globals(spec.seed, "noise")  # for losses that draw while they train
    return Model(network, stages[0], stages if len(stages) > 1 else (), trunk)


def _started(network: nn.Module, spec: RunSpec) -> Trunk | None:
    """Fill the network with the weights that the run starts from; what they filled, None where there are none."""
    if spec.start is None:
        return None
    file = Path(spec.weights_file)
    anew = put_into(network, read(file, spec.start.weights), f"weights: {file}")
    return trunk_of(network, anew, freeze=spec.start.freeze, lr_factor=spec.start.lr_factor)


def _run(spec: RunSpec, unfinished: Unfinished) -> RunResult:
    registry.load_files(spec.plugin_files)
    data = task_data(spec)
    if data.checksum != spec.provenance.data:
        raise PluginError(f"data of {spec.task.key} changed while the experiment ran; start it again")
    data = with_label_noise(data, spec)
    model = build(spec, data)
    clock = make_clock(spec.training.device)
    observer = Observer(spec, model, data)
    if spec.terms:
        history = train(
            model, data.train.images, data.train.labels, spec, clock, observer.validate, unfinished, observer
        )
    else:  # a baseline: epoch 0 is all there is
        if callable(fit := getattr(model.network, "fit", None)):  # in closed form, to what the others train on
            fit(data.train.images, data.train.labels)
        history = History(best_state=model.state(), best_losses=model.losses)
        history.best_score = (observer.validate(0) or {}).get("val_map_at_r", math.nan)
    classes = data.num_classes if spec.training.negatives == 1.0 else None
    collapsed = _has_collapsed(history, observer.val_embeddings, classes)
    model.losses = history.best_losses
    model.load(history.best_state)
    metrics_, arrays = evaluate(spec, model, data, history.best_score)
    clock.lap("evaluation")
    record = {
        "status": "diverged" if history.diverged_epoch is not None else "collapsed" if collapsed else "ok",
        "diverged_epoch": history.diverged_epoch,
        "best_epoch": history.best_epoch,
        "metrics": metrics_,
        "curves": history.curves,
        "cost": _costs(model, clock, history),
    }
    keeps = spec.final and spec.whole
    return RunResult(
        record=record,
        arrays=arrays | observer.drawn if keeps else {},
        audit={"test_map_at_r": observer.audit} if observer.audit else {},
        checkpoint=checkpoint(sharding.whole_state(model, history.best_state)) if keeps and spec.terms else None,
    )


def _has_collapsed(history: History, val_embeddings: Tensor, classes: int | None) -> bool:
    """After the last epoch: no variance on the sphere, or cross-entropy stuck within 1 % of ln C.

    `classes`: C; None where it differs from batch to batch.
    """
    stuck = False
    if classes is not None and (cross_entropy := history.curves.get("loss.softmax")):
        chance = math.log(classes)
        stuck = abs(cross_entropy[-1] - chance) <= 0.01 * chance
    return stuck or evaluation.has_collapsed(val_embeddings)


def _costs(model: Model, clock: Clock, history: History) -> dict[str, float]:
    """Seconds by part, throughput, tuples formed with their active share, parameters of the losses."""
    costs = {f"{part}_s": clock.seconds[part] for part in PARTS}
    costs["train_wall_s"] = clock.training_s
    costs["train_cpu_s"] = history.cpu_s
    costs["images"] = float(history.images)
    costs["images_per_s"] = history.images / clock.training_s if history.images else math.nan
    counting: list[Any] = [term.module for term in model.every_loss if hasattr(term.module, "take_tuple_counts")]
    counts = [module.take_tuple_counts() for module in counting]
    formed, active = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    costs["tuples_per_step"] = formed / history.steps if history.steps else 0.0
    costs["active_tuple_share"] = active / formed if formed else math.nan
    costs["loss_parameters"] = float(sum(sharding.parameters(term.module) for term in model.every_loss))
    return costs


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]

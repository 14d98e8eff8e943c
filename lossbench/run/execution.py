"""`execute(spec) -> RunResult`: one training run, a pure call that anything which runs functions can make."""

from __future__ import annotations

import io
import math
import time
import warnings
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lossbench import datasets, metrics
from lossbench.datasets import splits
from lossbench.datasets.dataset import Pairs
from lossbench.datasets.loading import UnreadableFiles
from lossbench.datasets.subset import training_samples
from lossbench.plugins import Kind, PluginError, Problem, registry
from lossbench.run import device, evaluation, parallel
from lossbench.run.clock import PARTS, Clock, make_clock, peak_memory_bytes, reset_peak_memory
from lossbench.run.evaluation import PairRows
from lossbench.run.pull import effective_pull
from lossbench.run.sampling import batch_plan
from lossbench.run.seeding import seed_globals, stream, stream_seed
from lossbench.run.training import History, Model, State, WeightedLoss, train
from lossbench.specification.spec import SCHEMA, RunSpec, Task, to_json

WORST_ERRORS = 12  # retrieval mistakes whose images are kept
MAP_SAMPLES = 300  # test samples whose embedding is kept for every epoch, for the report's slider
PLANE_SAMPLES = 1500  # the same where D = 2, and training samples kept there: such features are drawn as they are
LARGEST_DRAWN = float(np.finfo(np.float16).max)  # what the slider's half precision can hold


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What one run leaves: plain figures, arrays to draw, and the model of a final run.

    Attributes:
        record: the content of `result.json`.
        arrays: the content of `embeddings.npz`; empty for a trial.
        audit: test scores of every epoch, read by the report's section on bad practice only.
        checkpoint: `torch.save` bytes of the state at the best epoch, loadable with `weights_only=True`.
    """

    record: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    checkpoint: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One split on the device: uint8 images (N, C, H, W) and labels (N,) in 0..C-1."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskData:
    """The three splits of a task, its number of training classes and the names of its test classes.

    Attributes:
        pairs: pairs to verify of `val` and of `test`, where the protocol brings its own.
    """

    train: Split
    val: Split
    test: Split
    num_classes: int
    test_names: tuple[str, ...]
    checksum: str
    pairs: tuple[PairRows, PairRows] | None = None


def execute(spec: RunSpec) -> RunResult:
    """Train and evaluate one specification on one thread; in a group (`parallel`), every rank calls this.

    A run that raises is recorded as `failed` with its reason: the same call would only raise again.

    Raises:
        DisagreementError: this rank left the run, another one waits in it.
        SystemExit: the run took the GPU from this process, which can do nothing more with it.
    """
    where = spec.training.device
    device.set_up(where)
    reset = reset_peak_memory(where)
    started = time.perf_counter()
    result, error = RunResult(record={"status": "failed"}), None
    try:
        result = _run(spec)
    except Exception as raised:
        error = _one_line(raised)
        if device.is_lost(where):  # every later run of this process would fail with it
            raise SystemExit(f"the GPU answers this process no more: {error}") from raised
    if reason := parallel.agree(error):
        result = RunResult(record={"status": "failed", "error": reason})
    result.record["cost"] = result.record.get("cost", {}) | {
        "run_wall_s": time.perf_counter() - started,
        "peak_memory_bytes": peak_memory_bytes(where) if reset else math.nan,
    }
    result.record.update(
        schema=SCHEMA, run_id=spec.run_id, key=spec.key, spec=to_json(spec), environment=device.environment(where)
    )
    return result


@lru_cache(maxsize=2)
def task_data(task: Task, input_size: int | None, device: str, fold: int | None) -> TaskData:
    """The splits of a task as tensors; kept, because a worker meets the same task again and again."""
    with warnings.catch_warnings():  # whoever planned the run was told
        warnings.simplefilter("ignore", UnreadableFiles)
        source = datasets.load(task.dataset, input_size, task.fit)
    parts = splits.split(source, task.protocol, fold=fold)
    train_index = training_samples(source, parts, task.train_classes)
    train_classes = np.unique(source.labels[train_index])
    closed = task.protocol == "closed-set"

    def tensors(index: np.ndarray, classes: np.ndarray) -> Split:
        images = torch.from_numpy(np.ascontiguousarray(source.samples[index]))
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
        labels = torch.from_numpy(np.searchsorted(classes, source.labels[index]))
        return Split(images=images.contiguous().to(device), labels=labels.to(device))

    def classes_of(index: np.ndarray) -> np.ndarray:
        return train_classes if closed else np.unique(source.labels[index])

    def rows_of(pairs: Pairs, samples: np.ndarray) -> PairRows:
        first, second = (torch.from_numpy(rows).to(device) for rows in pairs.within(samples))
        return PairRows(first=first, second=second, same=torch.from_numpy(pairs.same).to(device))

    pairs = None
    if parts.val_pairs is not None and parts.test_pairs is not None:
        pairs = rows_of(parts.val_pairs, parts.val), rows_of(parts.test_pairs, parts.test)
    return TaskData(
        train=tensors(train_index, train_classes),
        val=tensors(parts.val, classes_of(parts.val)),
        test=tensors(parts.test, classes_of(parts.test)),
        num_classes=len(train_classes),
        test_names=tuple(source.class_names[label] for label in classes_of(parts.test)),
        checksum=source.checksum,
        pairs=pairs,
    )


def build(spec: RunSpec, data: TaskData) -> Model:
    """Network and losses of a spec, each from its own stream of the seed: terms never shift each other."""
    channels, height, width = data.train.images.shape[1:]
    problem = Problem(
        num_classes=data.num_classes,
        embedding_dim=spec.embedding_dim,
        image_shape=(channels, height, width),
    )

    def make(kind: Kind, name: str, params: dict[str, Any]) -> nn.Module:
        seed_globals(spec.seed, f"init.{name}")
        own = replace(problem, generator=stream(spec.seed, f"init.{name}"))
        module: nn.Module = registry.find(kind, name).build(own, **params)
        return module.to(spec.training.device)

    network = parallel.with_global_statistics(make("backbone", spec.backbone, {}))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in the stubs
    losses = [WeightedLoss(term.loss, term.weight, make("loss", term.loss, dict(term.params))) for term in spec.terms]
    seed_globals(spec.seed, "noise")  # for losses that draw while they train
    return Model(network, losses)


def _run(spec: RunSpec) -> RunResult:
    registry.load_files(spec.plugin_files)
    size = spec.task.input_size or spec.training.input_size
    data = task_data(spec.task, size, spec.training.device, spec.fold)
    if data.checksum != spec.provenance.data:
        raise PluginError(f"data of {spec.task.key} changed while the experiment ran; start it again")
    data = _with_label_noise(data, spec)
    model = build(spec, data)
    clock = make_clock(spec.training.device)
    observer = _Observer(spec, model, data)
    if spec.terms:
        history = train(model, data.train.images, data.train.labels, spec, clock, observer.validate)
    else:  # a baseline: epoch 0 is all there is
        history = History(best_state=model.state())
        observer.validate(0)
    collapsed = _has_collapsed(history, observer.val_embeddings, data.num_classes)
    model.load(history.best_state)
    metrics_, arrays = _evaluate(spec, model, data)
    clock.lap("evaluation")
    record = {
        "status": "diverged" if history.diverged_epoch is not None else "collapsed" if collapsed else "ok",
        "diverged_epoch": history.diverged_epoch,
        "best_epoch": history.best_epoch,
        "metrics": metrics_,
        "curves": history.curves,
        "cost": _costs(model, clock, history),
    }
    if not spec.final:
        return RunResult(record=record)
    arrays |= observer.drawn
    return RunResult(
        record=record,
        arrays=arrays,
        audit={"test_map_at_r": observer.audit},
        checkpoint=_checkpoint(history.best_state) if spec.terms else None,
    )


class _Observer:
    """Looks at the model after every epoch: validation for the choice, test for the sealed audit only."""

    def __init__(self, spec: RunSpec, model: Model, data: TaskData) -> None:
        self.spec, self.model, self.data = spec, model, data
        self.audit: list[float] = []
        self.epochs: list[np.ndarray] = []
        self.val_embeddings = torch.empty(0)
        self.centers = {name: module.centers.detach().clone() for name, module in _with_centers(model)}
        self.drawn_centers: list[np.ndarray] = []
        plane = spec.embedding_dim == 2
        self.drawn_index = _drawn_index(len(data.test.labels), PLANE_SAMPLES if plane else MAP_SAMPLES)

    def validate(self, epoch: int) -> dict[str, float] | None:
        """The curves' values of one epoch; None where embeddings are not finite."""
        embeddings = evaluation.embed(self.model.network, self.data.val.images)
        if not embeddings.isfinite().all():
            return None
        self.val_embeddings = embeddings
        points = metrics.unit(embeddings)
        scores = {
            "val_map_at_r": metrics.retrieval_metrics(points, self.data.val.labels)["map_at_r"],
            "val_intra_inter_ratio": metrics.scatter_statistics(points, self.data.val.labels)["intra_inter_ratio"],
        }
        drift = self._center_drift()
        if self.spec.final:
            self._audit()
        return scores | drift

    def _audit(self) -> None:
        embeddings = evaluation.embed(self.model.network, self.data.test.images)
        finite = bool(embeddings.isfinite().all())
        points = metrics.unit(embeddings)
        self.audit.append(metrics.retrieval_metrics(points, self.data.test.labels)["map_at_r"] if finite else math.nan)
        drawn = embeddings[self.drawn_index].clamp(-LARGEST_DRAWN, LARGEST_DRAWN)
        self.epochs.append(drawn.cpu().numpy().astype(np.float16))
        if self.spec.embedding_dim == 2:
            self.drawn_centers += [self.centers[name].cpu().numpy() for name in list(self.centers)[:1]]

    def _center_drift(self) -> dict[str, float]:
        """Mean distance by which the centers moved since the last look, and how many never did."""
        drift = {}
        for name, module in _with_centers(self.model):
            moved = (module.centers.detach() - self.centers[name]).norm(dim=1)
            self.centers[name] = module.centers.detach().clone()
            drift[f"{name}.drift"] = float(moved.mean())
            drift[f"{name}.dead_centers"] = float((moved == 0).sum())
        return drift

    @property
    def drawn(self) -> dict[str, np.ndarray]:
        """Embeddings (epochs, samples, D) of a fixed part of test, with their indices; where D = 2 the centers
        (epochs, C, 2) of the first loss that has any.
        """
        drawn = {"epochs.embeddings": np.stack(self.epochs), "epochs.index": self.drawn_index}
        return drawn | ({"epochs.centers": np.stack(self.drawn_centers)} if self.drawn_centers else {})


def _evaluate(spec: RunSpec, model: Model, data: TaskData) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Scores of the chosen epoch; test is embedded here, once, and for final runs only."""
    plugins = tuple(name for name in registry.names("metric", spec.plugin_files) if _applies(name, spec.task.protocol))
    modules = [term.module for term in model.losses]
    val = evaluation.embed(model.network, data.val.images)
    scores = {"val": evaluation.score_split(val, data.val.labels, plugins=plugins)[0]}
    if not spec.final:
        return scores, {}
    known = evaluation.embed(model.network, data.train.images)
    test = evaluation.embed(model.network, data.test.images)
    unseen = spec.task.protocol == "open-set"
    scores["test"], arrays = evaluation.score_split(test, data.test.labels, verify=unseen, draw=True, plugins=plugins)
    scores["train"] = {"head_accuracy": evaluation.head_accuracy(modules, known, data.train.labels)}
    if spec.task.protocol == "closed-set":
        scores["test"] |= evaluation.score_against_gallery(known, data.train.labels, test, data.test.labels)
        scores["test"]["head_accuracy"] = evaluation.head_accuracy(modules, test, data.test.labels)
    if unseen:
        scores["test"] |= evaluation.score_few_shot(test, data.test.labels)
    if data.pairs is not None:
        scores["test"] |= evaluation.score_pairs(test, data.pairs[1], val, data.pairs[0])
    for name, module in _with_centers(model):
        found = metrics.center_statistics(module.centers.detach(), known, data.train.labels)
        scores["train"] |= {f"{name}.{key}": value for key, value in found.items()}
    scores["train"] |= _pull(spec, model, data)
    arrays |= {"embeddings": test.cpu().numpy(), "labels": data.test.labels.cpu().numpy()}
    if spec.embedding_dim == 2:
        index = _drawn_index(len(data.train.labels), PLANE_SAMPLES)
        arrays |= {
            "train.embeddings": known[index].cpu().numpy(),
            "train.labels": data.train.labels[index].cpu().numpy(),
        }
    return scores, arrays | _worst_errors(test, data.test) | {"class_names": np.array(data.test_names)}


def _pull(spec: RunSpec, model: Model, data: TaskData) -> dict[str, float]:
    """The pull of the centers in the first batch of training, from where the chosen epoch has them."""
    first = batch_plan(
        spec.sampler,
        data.train.labels,
        batch_size=spec.training.batch_size,
        samples_per_class=spec.training.samples_per_class,
        generator=stream(spec.seed, "order"),
    )[0]
    embeddings = evaluation.embed(model.network, data.train.images[first])
    return effective_pull(model.losses, embeddings, data.train.labels[first], spec.training, spec.lr)


def _drawn_index(size: int, wanted: int) -> np.ndarray:
    """A fixed sample of `size` rows, the same in every run, in ascending order."""
    return np.sort(np.random.default_rng(0).choice(size, min(wanted, size), replace=False))


def _worst_errors(embeddings: Tensor, split: Split) -> dict[str, np.ndarray]:
    """The test images whose nearest neighbor on the sphere is of another class, the surest mistakes first.

    An image that is alone in its class could not do better, and is none.
    """
    found, distance = metrics.nearest_neighbours(metrics.unit(embeddings), split.labels, 1)
    matched = split.labels.bincount()[split.labels] > 1
    wrong = torch.nonzero((split.labels[found[:, 0]] != split.labels) & matched).flatten()
    worst = wrong[distance[wrong, 0].argsort(stable=True)][:WORST_ERRORS]
    pairs = torch.stack([worst, found[worst, 0]], 1)
    return {
        "errors.images": split.images[pairs].cpu().numpy(),
        "errors.labels": split.labels[pairs].cpu().numpy(),
        "errors.distance": distance[worst, 0].cpu().numpy(),
    }


def _with_centers(model: Model) -> list[tuple[str, Any]]:
    """The losses that keep one center a class in a buffer `centers`."""
    return [(term.name, term.module) for term in model.losses if hasattr(term.module, "centers")]


def _applies(metric: str, protocol: str) -> bool:
    offered = registry.find("metric", metric).protocols
    return not offered or protocol in offered


def _has_collapsed(history: History, val_embeddings: Tensor, num_classes: int) -> bool:
    """After the last epoch: no variance on the sphere, or cross-entropy stuck within 1 % of ln C."""
    stuck = False
    if cross_entropy := history.curves.get("loss.softmax"):
        chance = math.log(num_classes)
        stuck = abs(cross_entropy[-1] - chance) <= 0.01 * chance
    return stuck or evaluation.has_collapsed(val_embeddings)


def _costs(model: Model, clock: Clock, history: History) -> dict[str, float]:
    """Seconds by part, throughput, tuples formed with their active share, parameters of the losses."""
    costs = {f"{part}_s": clock.seconds[part] for part in PARTS}
    costs["train_wall_s"] = clock.training_s
    costs["train_cpu_s"] = history.cpu_s
    costs["images"] = float(history.images)
    costs["images_per_s"] = history.images / clock.training_s if history.images else math.nan
    counting: list[Any] = [term.module for term in model.losses if hasattr(term.module, "take_tuple_counts")]
    counts = [module.take_tuple_counts() for module in counting]
    formed, active = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    costs["tuples_per_step"] = formed / history.steps if history.steps else 0.0
    costs["active_tuple_share"] = active / formed if formed else math.nan
    costs["loss_parameters"] = float(sum(p.numel() for term in model.losses for p in term.module.parameters()))
    return costs


def _with_label_noise(data: TaskData, spec: RunSpec) -> TaskData:
    """Training and validation with a share of wrong labels, drawn from the seed's own stream."""
    share = spec.label_noise
    if not share:
        return data
    rng = np.random.default_rng(stream_seed(spec.seed, "label_noise"))

    def noisy(split: Split) -> Split:
        labels = splits.mislabel(split.labels.cpu().numpy(), share, rng)
        return replace(split, labels=torch.from_numpy(labels).to(split.labels.device))

    return replace(data, train=noisy(data.train), val=noisy(data.val))


def _checkpoint(state: State) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]

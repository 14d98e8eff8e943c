"""Which figures a run gets at the chosen epoch, by its protocol and by what it is for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossbench import metrics
from lossbench.plugins import registry
from lossbench.run import evaluation
from lossbench.run.data import Split, TaskData
from lossbench.run.kept import PLANE_SAMPLES, drawn_index, image_groups, worst_errors
from lossbench.run.model import Model
from lossbench.run.observing import centers_of
from lossbench.run.pull import effective_pull
from lossbench.run.sampling import batch_plan
from lossbench.run.searching import map_at_r_without, map_at_r_without_classes
from lossbench.run.seeding import stream
from lossbench.specification.spec import RunSpec

# Of more pairs than this a fixed sample is measured: half a second would go for five million, for the fourth decimal.
SAMPLED_PAIRS = 200_000


def evaluate(
    spec: RunSpec, model: Model, data: TaskData, best_score: float
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Figures and arrays of the chosen epoch; test is embedded here, once, and for final runs only.

    A trial has the one figure that it is chosen by, `best_score`; a final run that is not `whole` what verdicts need.
    """
    if not spec.final:
        return {"val": {"sphere.map_at_r": best_score}}, {}
    if not spec.whole:
        return {"val": {"sphere.map_at_r": best_score}} | _for_verdicts(model, data, spec.task.protocol), {}
    return _everything(spec, model, data)


def _for_verdicts(model: Model, data: TaskData, protocol: str) -> dict[str, dict[str, float]]:
    """Retrieval in both spaces, accuracy of the head, and the given pairs where the protocol is about these."""
    test, known = (evaluation.embed(model.network, split.images) for split in (data.test, data.train))
    scores = {"test": evaluation.score_retrieval(test, data.test.labels, data.test.roles)}
    scores["train"] = {"head_accuracy": _head_accuracy(model, known, data.train)}
    if protocol == "closed-set":
        scores["test"]["head_accuracy"] = _head_accuracy(model, test, data.test)
    if data.pairs is not None:
        val = evaluation.embed(model.network, data.val.images)
        scores["test"] |= evaluation.score_pairs(test, data.pairs[1], val, data.pairs[0])
    return scores


def _everything(spec: RunSpec, model: Model, data: TaskData) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    plugins = tuple(name for name in registry.names("metric", spec.plugin_files) if _applies(name, spec.task.protocol))
    val, known, test = (evaluation.embed(model.network, each.images) for each in (data.val, data.train, data.test))
    unseen = spec.task.protocol == "open-set"
    measured: dict[str, Any] = {"plugins": plugins, "max_pairs": SAMPLED_PAIRS}
    scores = {"val": evaluation.score_split(val, data.val.labels, roles=data.val.roles, **measured)[0]}
    scores["test"], arrays = evaluation.score_split(
        test, data.test.labels, roles=data.test.roles, verify=unseen, draw=True, **measured
    )
    scores["train"] = {"head_accuracy": _head_accuracy(model, known, data.train)}
    if spec.task.protocol == "closed-set":
        scores["test"] |= evaluation.score_against_gallery(known, data.train.labels, test, data.test.labels)
        scores["test"]["head_accuracy"] = _head_accuracy(model, test, data.test)
    if unseen:
        scores["test"] |= evaluation.score_few_shot(test, data.test.labels)
    if data.pairs is not None:
        scores["test"] |= evaluation.score_pairs(test, data.pairs[1], val, data.pairs[0])
    for network, losses in model.seen():
        for name, centers in centers_of(losses):
            seen = known if network is model.network else evaluation.embed(network, data.train.images)
            found = metrics.center_statistics(centers, seen, data.train.labels)
            scores["train"] |= {f"{name}.{key}": value for key, value in found.items()}
    scores["train"] |= _pull(spec, model, data)
    arrays |= {"jackknife.sphere.map_at_r": _jackknife(test, data.test, spec.task.protocol)}
    arrays |= {"embeddings": test.cpu().numpy(), "labels": data.test.labels.cpu().numpy()}
    if spec.embedding_dim == 2:
        index = drawn_index(len(data.train.labels), PLANE_SAMPLES)
        arrays |= {
            "train.embeddings": known[index].cpu().numpy(),
            "train.labels": data.train.labels[index].cpu().numpy(),
        }
    return scores, arrays | worst_errors(test, data.test) | {"class_names": np.array(data.test_names)}


def _jackknife(test: Tensor, split: Split, protocol: str) -> np.ndarray:
    """MAP@R on the sphere without each test class; in closed-set, where classes are known, without each of some groups
    of images: (G,) float64.
    """
    points, labels = metrics.unit(test), split.labels
    if protocol != "closed-set":
        return map_at_r_without_classes(points, labels, split.roles).cpu().numpy()
    groups = torch.from_numpy(image_groups(len(labels))).to(labels.device)
    return map_at_r_without(points, labels, groups).cpu().numpy()


def _pull(spec: RunSpec, model: Model, data: TaskData) -> dict[str, float]:
    """The pull of the centers in the first batch of training, from where the chosen epoch has them."""
    first = batch_plan(
        spec.stages[model.stage].sampler,
        data.train.labels,
        batch_size=spec.training.batch_size,
        samples_per_class=spec.training.samples_per_class,
        generator=stream(spec.seed, "order"),
    )[0]
    found: dict[str, float] = {}
    for network, losses in model.seen():
        embeddings = evaluation.embed(network, data.train.images[first])
        found |= effective_pull(losses, embeddings, data.train.labels[first], spec.training, spec.lr)
    return found


def _head_accuracy(model: Model, embeddings: Tensor, split: Split) -> float:
    """Accuracy of the head on a split whose embeddings are given; of those before the neck where the head sees them."""
    heads = [term for term in model.losses if evaluation.head_of(term.module) is not None]
    if heads and heads[0].before:
        embeddings = evaluation.embed(model.seen()[0][0], split.images)
    return evaluation.head_accuracy([term.module for term in model.losses], embeddings, split.labels)


def _applies(metric: str, protocol: str) -> bool:
    offered = registry.find("metric", metric).protocols
    return not offered or protocol in offered

"""Which figures a run gets at the chosen epoch, by its protocol and by what it is for."""

from __future__ import annotations

from typing import Any

import numpy as np

from lossbench import metrics
from lossbench.plugins import registry
from lossbench.run import evaluation
from lossbench.run.data import TaskData
from lossbench.run.kept import PLANE_SAMPLES, drawn_index, worst_errors
from lossbench.run.observing import with_centers
from lossbench.run.pull import effective_pull
from lossbench.run.sampling import batch_plan
from lossbench.run.seeding import stream
from lossbench.run.training import Model
from lossbench.specification.spec import RunSpec


def evaluate(spec: RunSpec, model: Model, data: TaskData) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
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
    for name, module in with_centers(model):
        found = metrics.center_statistics(module.centers.detach(), known, data.train.labels)
        scores["train"] |= {f"{name}.{key}": value for key, value in found.items()}
    scores["train"] |= _pull(spec, model, data)
    arrays |= {"embeddings": test.cpu().numpy(), "labels": data.test.labels.cpu().numpy()}
    if spec.embedding_dim == 2:
        index = drawn_index(len(data.train.labels), PLANE_SAMPLES)
        arrays |= {
            "train.embeddings": known[index].cpu().numpy(),
            "train.labels": data.train.labels[index].cpu().numpy(),
        }
    return scores, arrays | worst_errors(test, data.test) | {"class_names": np.array(data.test_names)}


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


def _applies(metric: str, protocol: str) -> bool:
    offered = registry.find("metric", metric).protocols
    return not offered or protocol in offered

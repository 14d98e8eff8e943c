"""What is looked at after every epoch of a run: validation for the choice, test for the sealed audit only."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from lossbench import metrics
from lossbench.run import evaluation
from lossbench.run.data import TaskData
from lossbench.run.kept import LARGEST_DRAWN, MAP_SAMPLES, PLANE_SAMPLES, drawn_index
from lossbench.run.training import Model
from lossbench.specification.spec import RunSpec


class Observer:
    """Looks at the model after every epoch: validation for the choice, test for the sealed audit only."""

    def __init__(self, spec: RunSpec, model: Model, data: TaskData) -> None:
        self.spec, self.model, self.data = spec, model, data
        self.audit: list[float] = []
        self.epochs: list[np.ndarray] = []
        self.val_embeddings = torch.empty(0)
        self.centers = {name: module.centers.detach().clone() for name, module in with_centers(model)}
        self.drawn_centers: list[np.ndarray] = []
        plane = spec.embedding_dim == 2
        self.drawn_index = drawn_index(len(data.test.labels), PLANE_SAMPLES if plane else MAP_SAMPLES)

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
        for name, module in with_centers(self.model):
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


def with_centers(model: Model) -> list[tuple[str, Any]]:
    """The losses that keep one center a class in a buffer `centers`."""
    return [(term.name, term.module) for term in model.losses if hasattr(term.module, "centers")]

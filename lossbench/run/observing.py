"""What is looked at while a run trains: validation for the choice of the epoch, test for the sealed audit only."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossbench import metrics
from lossbench.run import evaluation, sharding
from lossbench.run.data import TaskData
from lossbench.run.kept import LARGEST_DRAWN, MAP_SAMPLES, PLANE_SAMPLES, drawn_index
from lossbench.run.model import Model, WeightedLoss
from lossbench.run.searching import classed, retrieval
from lossbench.specification.spec import RunSpec


class Observer:
    """Looks at the model after every validated epoch; a trial needs one figure and gets no other."""

    def __init__(self, spec: RunSpec, model: Model, data: TaskData) -> None:
        self.spec, self.model, self.data = spec, model, data
        self.audit: list[float] = []
        self.epochs: list[np.ndarray] = []
        self.val_embeddings = torch.empty(0)
        self.keeping = [term for term in model.every_loss if hasattr(term.module, "centers")]
        self.centers = [sharding.centers(term.module).clone() for term in self.keeping]
        self.drawn_centers: list[np.ndarray] = []
        plane = spec.embedding_dim == 2
        self.drawn_index = drawn_index(len(data.test.labels), PLANE_SAMPLES if plane else MAP_SAMPLES)

    def validate(self, epoch: int) -> dict[str, float] | None:
        """The curves' values of one epoch; None where embeddings are not finite."""
        embeddings = evaluation.embed(self.model.network, self.data.val.images)
        if not embeddings.isfinite().all():
            return None
        self.val_embeddings = embeddings
        points, val = metrics.unit(embeddings), self.data.val
        scores = {"val_map_at_r": retrieval(points, val.labels, val.roles)["map_at_r"]}
        if not self.spec.final:
            return scores
        scatter = metrics.scatter_statistics(*classed(points, val.labels, val.roles))
        scores |= {"val_intra_inter_ratio": scatter["intra_inter_ratio"]} | self._center_drift()
        self._look_at_test()
        return scores

    def _look_at_test(self) -> None:
        """Score test where this run is audited; keep a sample of it where it is drawn."""
        if self.spec.audit:
            embeddings = evaluation.embed(self.model.network, self.data.test.images)
            self.audit.append(self._test_map_at_r(embeddings))
            sample = embeddings[self.drawn_index]
        elif self.spec.whole:
            sample = evaluation.embed(self.model.network, self.data.test.images[self.drawn_index])
        if self.spec.whole:
            self.epochs.append(sample.clamp(-LARGEST_DRAWN, LARGEST_DRAWN).cpu().numpy().astype(np.float16))
            if self.spec.embedding_dim == 2:
                drawn = [place for place, term in enumerate(self.keeping) if not term.before]  # others lie elsewhere
                self.drawn_centers += [self.centers[place].cpu().numpy() for place in drawn[:1]]

    def _test_map_at_r(self, embeddings: Tensor) -> float:
        if not embeddings.isfinite().all():
            return math.nan
        return retrieval(metrics.unit(embeddings), self.data.test.labels, self.data.test.roles)["map_at_r"]

    def _center_drift(self) -> dict[str, float]:
        """Mean distance by which the centers moved since the last look, and how many never did; NaN where the loss is
        of the other stage.
        """
        drift = {f"{term.name}.{fact}": math.nan for term in self.keeping for fact in ("drift", "dead_centers")}
        for place, term in enumerate(self.keeping):
            if term not in self.model.losses:
                continue
            centers = sharding.centers(term.module).clone()
            moved = (centers - self.centers[place]).norm(dim=1)
            self.centers[place] = centers
            drift[f"{term.name}.drift"] = float(moved.mean())
            drift[f"{term.name}.dead_centers"] = float((moved == 0).sum())
        return drift

    def state(self) -> dict[str, Any]:
        """What was seen so far, as tensors and plain values."""
        return {
            "audit": self.audit,
            "epochs": [torch.from_numpy(values) for values in self.epochs],
            "val_embeddings": self.val_embeddings,
            "centers": self.centers,
            "drawn_centers": [torch.from_numpy(values) for values in self.drawn_centers],
        }

    def load(self, kept: dict[str, Any]) -> None:
        """Go on from there."""
        self.audit, self.val_embeddings, self.centers = kept["audit"], kept["val_embeddings"], kept["centers"]
        self.epochs = [values.numpy() for values in kept["epochs"]]
        self.drawn_centers = [values.numpy() for values in kept["drawn_centers"]]

    @property
    def drawn(self) -> dict[str, np.ndarray]:
        """Embeddings (looks, samples, D) of a fixed part of test, with their indices; where D = 2 the centers
        (looks, C, 2) of the first loss that has any.
        """
        drawn = {"epochs.embeddings": np.stack(self.epochs), "epochs.index": self.drawn_index}
        return drawn | ({"epochs.centers": np.stack(self.drawn_centers)} if self.drawn_centers else {})


def centers_of(losses: list[WeightedLoss]) -> list[tuple[str, Tensor]]:
    """The losses that keep one center a class, with a copy of the centers (C, D) of all classes."""
    found = [(term.name, term.module) for term in losses if hasattr(term.module, "centers")]
    return [(name, sharding.centers(module).clone()) for name, module in found]

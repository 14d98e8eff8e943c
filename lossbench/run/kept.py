"""What is kept of a final run to be drawn: samples of its embeddings, its worst mistakes, its model."""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import Tensor

from lossbench import metrics
from lossbench.run.data import Split
from lossbench.run.model import State
from lossbench.run.searching import nearest

IMAGE_GROUPS = 50  # of test images, left out in turn where test classes are those of training
WORST_ERRORS = 12  # retrieval mistakes whose images are kept
MAP_SAMPLES = 300  # test samples whose embedding is kept for every epoch, for the report's slider
PLANE_SAMPLES = 1500  # the same where D = 2, and training samples kept there: such features are drawn as they are
LARGEST_DRAWN = float(np.finfo(np.float16).max)  # what the slider's half precision can hold


def drawn_index(size: int, wanted: int) -> np.ndarray:
    """A fixed sample of `size` rows, the same in every run, in ascending order."""
    return np.sort(np.random.default_rng(0).choice(size, min(wanted, size), replace=False))


def image_groups(size: int) -> np.ndarray:
    """One of IMAGE_GROUPS groups for each of `size` images (size,) int64, the same in every run, as even as can be."""
    return np.random.default_rng(0).permutation(size) % IMAGE_GROUPS


def worst_errors(embeddings: Tensor, split: Split) -> dict[str, np.ndarray]:
    """The queries of test whose nearest neighbor on the sphere is of another class, the surest mistakes first.

    A sample that is alone in its class could not do better, and is none. `errors.images` (n, 2, C, H, W), or of vectors
    `errors.names` (n, 2), has each and its neighbor.
    """
    asked, found, distance = nearest(metrics.unit(embeddings), split.labels, split.roles)
    wrong = torch.nonzero(split.labels[found] != split.labels[asked]).flatten()
    worst = wrong[distance[wrong].argsort(stable=True)][:WORST_ERRORS]
    pairs = torch.stack([asked[worst], found[worst]], 1)
    shown = "images" if split.names is None else "names"
    return {
        f"errors.{shown}": split.names[pairs.cpu()] if split.names is not None else split.images[pairs].cpu().numpy(),
        "errors.labels": split.labels[pairs].cpu().numpy(),
        "errors.distance": distance[worst].cpu().numpy(),
    }


def checkpoint(state: State) -> bytes:
    """A state as `torch.save` writes it, loadable with `weights_only=True`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()

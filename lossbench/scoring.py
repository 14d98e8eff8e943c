"""`lossbench score`: the figures of the protocol for embeddings from elsewhere."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from lossbench.evaluation import SPACES, score_split
from lossbench.metrics.inputs import as_tensor

REQUIRED = ("embeddings", "labels")


def score_file(path: Path) -> str:
    """A table of every figure in both spaces; with several classes, verification on all pairs too.

    Args:
        path: `.npz` with `embeddings` (N, D) of numbers and `labels` (N,) of integers or text.

    Raises:
        ValueError: not such a file, or arrays that do not fit.
    """
    arrays = _read(path)
    embeddings, labels = as_tensor(arrays["embeddings"], "embeddings"), arrays["labels"]
    if labels.dtype.kind in "US":
        labels = np.unique(labels, return_inverse=True)[1]
    several = len(np.unique(labels)) > 1
    scores, _ = score_split(embeddings, as_tensor(labels, "labels"), verify=several)
    names = [name.removeprefix(f"{SPACES[0]}.") for name in scores if name.startswith(f"{SPACES[0]}.")]
    lines = [f"{'':<22}" + "".join(f"{space:>12}" for space in SPACES)]
    lines += [f"{name:<22}" + "".join(f"{scores[f'{space}.{name}']:>12.4f}" for space in SPACES) for name in names]
    return "\n".join(lines)


def _read(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:  # a missing file says so
        zipped = zipfile.is_zipfile(file)
    if not zipped:
        raise ValueError(f"{path}: is not an .npz file")
    with np.load(path, allow_pickle=False) as stored:
        missing = [name for name in REQUIRED if name not in stored.files]
        if missing:
            held = ", ".join(stored.files) or "nothing"
            raise ValueError(f"{path}: has no array {missing[0]!r}; it holds {held}")
        try:
            return {name: stored[name] for name in REQUIRED}
        except (ValueError, zipfile.BadZipFile, EOFError) as error:  # object arrays, or a damaged archive
            raise ValueError(f"{path}: {error}") from error

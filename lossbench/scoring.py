"""`lossbench score`: the figures of the protocol for embeddings from elsewhere."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch

from lossbench.evaluation import SPACES, score_split

REQUIRED = ("embeddings", "labels")


def score_file(path: Path) -> str:
    """A table of every figure in both spaces, verification on all pairs included.

    Args:
        path: `.npz` with `embeddings` (N, D) floating and `labels` (N,) integers.

    Raises:
        ValueError: not such a file, or arrays that do not fit.
    """
    arrays = _read(path)
    embeddings = torch.from_numpy(np.asarray(arrays["embeddings"]))
    scores, _ = score_split(embeddings, torch.from_numpy(np.asarray(arrays["labels"])), verify=True)
    names = [name.removeprefix(f"{SPACES[0]}.") for name in scores if name.startswith(f"{SPACES[0]}.")]
    lines = [f"{'':<22}" + "".join(f"{space:>12}" for space in SPACES)]
    lines += [f"{name:<22}" + "".join(f"{scores[f'{space}.{name}']:>12.4f}" for space in SPACES) for name in names]
    return "\n".join(lines)


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            missing = [name for name in REQUIRED if name not in stored.files]
            if missing:
                held = ", ".join(stored.files) or "nothing"
                raise ValueError(f"{path}: has no array {missing[0]!r}; it holds {held}")
            return {name: stored[name] for name in REQUIRED}
    except (zipfile.BadZipFile, AttributeError, EOFError) as error:
        raise ValueError(f"{path}: is not an .npz file") from error
    except ValueError as error:
        message = str(error)
        raise ValueError(message if str(path) in message else f"{path}: {message}") from error

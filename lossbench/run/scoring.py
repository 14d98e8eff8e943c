"""`lossbench score`: the figures and statistics of the protocol for embeddings from elsewhere."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lossbench import metrics
from lossbench.metrics.inputs import as_tensor
from lossbench.run.evaluation import SPACES, in_space, score_few_shot, score_split
from lossbench.specification.spec import SCHEMA
from lossbench.store import Store

REQUIRED = ("embeddings", "labels")
EXPERIMENT = "scores"
TASK = {"dataset": "embeddings", "protocol": "open-set"}


def score_file(path: Path) -> str:
    """A table of every figure in both spaces; with several classes, verification on all pairs too.

    Args:
        path: `.npz` with `embeddings` (N, D) of numbers and `labels` (N,) of integers or text.

    Raises:
        ValueError: not such a file, or arrays that do not fit.
    """
    scores, _ = _score(path)
    names = [name.removeprefix(f"{SPACES[0]}.") for name in scores if name.startswith(f"{SPACES[0]}.")]
    lines = [f"{'':<22}" + "".join(f"{space:>12}" for space in SPACES)]
    lines += [f"{name:<22}" + "".join(f"{scores[f'{space}.{name}']:>12.4f}" for space in SPACES) for name in names]
    return "\n".join(lines)


def store_scores(paths: Sequence[Path], root: Path) -> str:
    """Score files as the final runs of an experiment, so that a report can be made of them; return its name.

    `NAME.npz` is seed 1 of the recipe NAME, `NAME.SEED.npz` the seed SEED: files of one seed are compared as a pair,
    and take the place of a study.

    Raises:
        ValueError: a file that cannot be scored, two of one recipe and seed, or two of one seed with other labels.
    """
    store = Store(root)
    rows: list[dict[str, Any]] = []
    answers: dict[int, tuple[Path, np.ndarray]] = {}  # seed to its first file and that file's labels
    for path in paths:
        recipe, seed = _recipe_and_seed(path)
        if any((row["recipe"], row["study"]) == (recipe, seed) for row in rows):
            raise ValueError(f"{path}: there is another file of seed {seed} of {recipe!r}")
        scores, arrays = _score(path)
        first, labels = answers.setdefault(seed, (path, arrays["labels"]))
        if not np.array_equal(labels, arrays["labels"]):
            raise ValueError(
                f"{path}: its labels are not those of {first}; files of one seed are compared sample by sample"
            )
        run_id = hashlib.sha256(f"{recipe}/{seed}/".encode() + path.read_bytes()).hexdigest()[:16]
        record = {"schema": SCHEMA, "run_id": run_id, "status": "ok", "metrics": {"test": scores}, "best_epoch": 0}
        store.write(record, arrays=arrays)
        rows.append(
            {
                **TASK,
                "study": seed,
                "recipe": recipe,
                "role": "final",
                "trial": 0,
                "seed": 1,
                "run_id": run_id,
                "params": {},
            }
        )
    store.write_plan(_plan(rows))
    return EXPERIMENT


def _plan(rows: list[dict[str, Any]]) -> dict[str, Any]:
    recipes = list(dict.fromkeys(row["recipe"] for row in rows))
    task, studies = "/".join(TASK.values()), max(row["study"] for row in rows)
    experiment = {
        "name": EXPERIMENT,
        "question": "Which of these embeddings separate their classes best?",
        "tasks": [TASK],
        "backbone": "from elsewhere",
        "embedding_dim": "as given",
        "recipes": [{"name": name, "use": name} for name in recipes],
        "baselines": [],
        "plugins": [],
        "training": {},
        "budget": {"studies": studies, "trials": 0, "candidates": 0, "candidate_seeds": 0, "seeds": 1},
        "seed": 0,
        "params": {},
        "claims": [],
    }
    return {
        "schema": SCHEMA,
        "name": EXPERIMENT,
        "experiment": experiment,
        "recipes": [
            {"name": name, "losses": [], "sampler": "", "searched": {}, "defaults": {}, "params": []}
            for name in recipes
        ],
        "planned_runs": len(rows),
        "train_images": {},
        "studies": {task: studies},
        "dropped": {task: {}},
        "provenance": {task: {"data": "from elsewhere", "code": "", "plugins": [], "libraries": []}},
        "rows": rows,
    }


def _recipe_and_seed(path: Path) -> tuple[str, int]:
    """`softmax.3.npz` is seed 3 of `softmax`; without a number it is seed 1.

    >>> _recipe_and_seed(Path("a/softmax.3.npz")), _recipe_and_seed(Path("v1.5b.npz"))
    (('softmax', 3), ('v1.5b', 1))
    """
    name, _, seed = path.name.removesuffix(".npz").rpartition(".")
    return (name, int(seed)) if name and seed.isascii() and seed.isdigit() else (path.name.removesuffix(".npz"), 1)


def _score(path: Path) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Figures, and the arrays that a report draws.

    Raises:
        ValueError: naming the file: arrays that do not fit, values that are not finite.
    """
    arrays = _read(path)
    try:
        embeddings, labels = as_tensor(arrays["embeddings"], "embeddings"), arrays["labels"]
        names, dense = np.unique(labels, return_inverse=True)
        known = as_tensor(dense if labels.dtype.kind in "US" else labels, "labels")
        scores, drawn = score_split(embeddings, known, verify=len(names) > 1, draw=True)
        scores |= _by_class(embeddings, known) | score_few_shot(embeddings, as_tensor(dense, "labels"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    kept = {"embeddings": arrays["embeddings"], "labels": dense, "class_names": names.astype(str)}
    return scores, drawn | kept


def _by_class(embeddings: Tensor, labels: Tensor) -> dict[str, float]:
    """MAP@R and P@1 in which every class counts alike, whatever its size, in both spaces."""
    found: dict[str, float] = {}
    for space in SPACES:
        figures = metrics.retrieval_metrics(in_space(embeddings, space), labels, average="class")
        found |= {f"{space}.{name}_by_class": figures[name] for name in ("map_at_r", "precision_at_1")}
    return found


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

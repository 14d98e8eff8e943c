"""`lossbench score`: the figures and statistics of the protocol for embeddings from elsewhere."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossbench.datasets.columns import columns_of
from lossbench.datasets.dataset import BOTH, DISTRACTOR, JUNK
from lossbench.metrics.inputs import as_tensor
from lossbench.run.evaluation import SPACES, in_space, score_few_shot, score_split
from lossbench.run.searching import Roles, retrieval, roles_from
from lossbench.specification.spec import SCHEMA
from lossbench.store import Store

REQUIRED = ("embeddings", "labels")
OF_A_GALLERY = ("role", "group")
EXPERIMENT = "scores"


def score_file(path: Path) -> str:
    """A table of every figure in both spaces; with several classes, verification on all pairs too.

    Args:
        path: `.npz` with `embeddings` (N, D) of numbers and `labels` (N,) of integers or text; with `role` or `group`
            (N,) the figures are those of queries against a gallery.

    Raises:
        ValueError: not such a file, or arrays that do not fit.
    """
    return _table(_score(path, _read(path))[0])


def score_against(queries: Path, gallery: Path) -> str:
    """The same of the queries of one file against the gallery of another, whose `role` may name distractors and junk.

    Raises:
        ValueError: not such files, or arrays that do not fit each other.
    """
    arrays = [_with_role(_read(path), role) for path, role in ((queries, "query"), (gallery, "gallery"))]
    place = Path(f"{queries}, {gallery}")
    for name in (*REQUIRED, *OF_A_GALLERY):
        kinds = [each[name].dtype.kind if name in each else "" for each in arrays]
        if ("" in kinds or {*"US"} & {*kinds}) and len(set(kinds)) > 1:
            raise ValueError(f"{place}: {name} are not of one kind in both files")
    if (wide := arrays[0]["embeddings"].shape[1:]) != arrays[1]["embeddings"].shape[1:]:
        raise ValueError(f"{gallery}: embeddings have not {wide} values as those of {queries}")
    return _table(_score(place, {name: np.concatenate([each[name] for each in arrays]) for name in arrays[0]})[0])


def _with_role(arrays: dict[str, np.ndarray], role: str) -> dict[str, np.ndarray]:
    given = arrays.get("role", np.full(len(arrays["labels"]), role))
    return arrays | {"role": np.where(np.isin(given, ("distractor", "junk")), given, role)}


def _table(scores: dict[str, float]) -> str:
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
    answers: dict[int, tuple[Path, dict[str, np.ndarray]]] = {}  # seed to its first file and what that says of samples
    for path in paths:
        recipe, seed = _recipe_and_seed(path)
        if any((row["recipe"], row["study"]) == (recipe, seed) for row in rows):
            raise ValueError(f"{path}: there is another file of seed {seed} of {recipe!r}")
        given = _read(path)
        scores, arrays = _score(path, given)
        first, known = answers.setdefault(seed, (path, {name: given[name] for name in given if name != "embeddings"}))
        for name in ("labels", *OF_A_GALLERY):
            if not np.array_equal(known.get(name, []), given.get(name, [])):
                several = f"{name.removesuffix('s')}s"
                raise ValueError(
                    f"{path}: its {several} are not those of {first}; files of one seed are compared sample by sample"
                )
        run_id = hashlib.sha256(f"{recipe}/{seed}/".encode() + path.read_bytes()).hexdigest()[:16]
        record = {"schema": SCHEMA, "run_id": run_id, "status": "ok", "metrics": {"test": scores}, "best_epoch": 0}
        store.write(record, arrays=arrays)
        rows.append(
            {
                **_task(given),
                "study": seed,
                "recipe": recipe,
                "role": "final",
                "trial": 0,
                "seed": 1,
                "run_id": run_id,
                "params": {},
            }
        )
    if len({row["protocol"] for row in rows}) > 1:
        raise ValueError("some files have role or group and others have neither; they are not the same task")
    store.write_plan(_plan(rows))
    return EXPERIMENT


def _task(arrays: dict[str, np.ndarray]) -> dict[str, str]:
    protocol = "query-gallery" if set(OF_A_GALLERY) & set(arrays) else "open-set"
    return {"dataset": "embeddings", "protocol": protocol}


def _plan(rows: list[dict[str, Any]]) -> dict[str, Any]:
    recipes = list(dict.fromkeys(row["recipe"] for row in rows))
    named = {name: rows[0][name] for name in ("dataset", "protocol")}
    task, studies = "/".join(named.values()), max(row["study"] for row in rows)
    experiment = {
        "name": EXPERIMENT,
        "question": "Which of these embeddings separate their classes best?",
        "tasks": [named],
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


def _score(path: Path, arrays: dict[str, np.ndarray]) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Figures, and the arrays that a report draws.

    Raises:
        ValueError: naming the file: arrays that do not fit, values that are not finite.
    """
    try:
        if set(OF_A_GALLERY) & set(arrays):
            return _score_gallery(arrays)
        embeddings, labels = _embeddings(arrays["embeddings"]), arrays["labels"]
        names, dense = np.unique(labels, return_inverse=True)
        known = as_tensor(dense if labels.dtype.kind in "US" else labels, "labels")
        scores, drawn = score_split(embeddings, known, verify=len(names) > 1, draw=True)
        scores |= _by_class(embeddings, known) | score_few_shot(embeddings, as_tensor(dense, "labels"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    kept = {"embeddings": arrays["embeddings"], "labels": dense, "class_names": names.astype(str)}
    return scores, drawn | kept


def _score_gallery(arrays: dict[str, np.ndarray]) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """The same of queries against a gallery; junk is left out."""
    count = len(arrays["embeddings"]) if arrays["embeddings"].ndim else 0
    columns_read: dict[str, Any] = {name: arrays[name] for name in ("labels", *OF_A_GALLERY) if name in arrays}
    for name, array in columns_read.items():
        if array.shape != (count,):
            raise ValueError(f"{name}: shape {array.shape} is not ({count},), one for each row of embeddings")
    columns = columns_of("arrays", columns_read)
    codes = np.full(count, BOTH) if columns.roles is None else columns.roles
    kept, groups = codes != JUNK, np.full(count, -1) if columns.groups is None else columns.groups
    roles, stray = roles_from(codes[kept], groups[kept]), codes[kept] == DISTRACTOR
    for rows, what in ((roles.asks, "query"), (roles.stands, "sample of the gallery")):
        if not len(rows):
            raise ValueError(f"role: there is no {what}")
    present, dense = np.unique(columns.labels[kept][~stray], return_inverse=True)
    labels = np.full(int(kept.sum()), len(present))  # of distractors
    labels[~stray] = dense
    embeddings, known = _embeddings(arrays["embeddings"][kept]), torch.from_numpy(labels)
    scores, drawn = score_split(embeddings, known, roles=roles, draw=True)
    scores |= _by_class(embeddings, known, roles)
    names = [*(columns.class_names[label] for label in present), *(["distractor"] if stray.any() else [])]
    shown = {"embeddings": arrays["embeddings"][kept], "labels": labels, "class_names": np.array(names)}
    return scores, drawn | shown


def _embeddings(values: np.ndarray) -> Tensor:
    """Embeddings in double precision: a narrow cone of single ones keeps its order on the sphere only there."""
    tensor = as_tensor(values, "embeddings")
    return tensor.double() if tensor.is_floating_point() else tensor


def _by_class(embeddings: Tensor, labels: Tensor, roles: Roles | None = None) -> dict[str, float]:
    """MAP@R and P@1, or CMC@1, in which every class counts alike, whatever its size, in both spaces."""
    found: dict[str, float] = {}
    for space in SPACES:
        figures = retrieval(in_space(embeddings, space), labels, roles, average="class")
        first = "precision_at_1" if roles is None else "cmc_at_1"
        found |= {f"{space}.{name}_by_class": figures[name] for name in ("map_at_r", first)}
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
            names = [*REQUIRED, *(name for name in OF_A_GALLERY if name in stored.files)]
            return {name: stored[name] for name in names}
        except (ValueError, zipfile.BadZipFile, EOFError) as error:  # object arrays, or a damaged archive
            raise ValueError(f"{path}: {error}") from error

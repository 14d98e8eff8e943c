"""Stores with hand-written records, so that a test knows which verdicts must come out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lossbench.specification.experiment import Claim
from lossbench.specification.spec import SCHEMA
from lossbench.store import Store
from lossbench.sweep.registration import register

TASK = "toy/closed-set"
EPOCHS = 3


def plan(
    recipes: dict[str, list[float]], *, studies: int, seeds: int = 1, trials: int = 2, tasks: tuple[str, ...] = (TASK,)
) -> dict[str, Any]:
    """The plan document of an experiment with these recipes; rows come from `fill`."""
    return {
        "schema": SCHEMA,
        "name": "toy",
        "experiment": {
            "name": "toy",
            "question": "Which of these?",
            "tasks": [_task_settings(task) for task in tasks],
            "backbone": "convnet",
            "embedding_dim": 4,
            "recipes": [{"name": name, "use": name} for name in recipes],
            "baselines": ["untrained", "pixels"],
            "plugins": [],
            "training": {"epochs": EPOCHS, "batch_size": 16, "input_size": None},
            "budget": {"studies": studies, "trials": trials, "seeds": seeds, "candidates": 1, "candidate_seeds": 2},
            "seed": 0,
            "params": {"softmax+center": {"alpha": 0.5}},
        },
        "recipes": [
            {"name": name, "losses": name.partition("@")[0].split("+"), "sampler": "uniform",
             "searched": {"lr": {"low": 1e-4, "high": 1e-1, "log": True}}, "defaults": {"lr": 1e-3}}
            for name in recipes
        ],
        "studies": dict.fromkeys(tasks, studies),
        "dropped": {task: {} for task in tasks},
        "train_images": dict.fromkeys(tasks, 100),
        "provenance": {
            task: {"data": "d" * 16, "code": "c" * 16, "plugins": [], "libraries": [["numpy", "2.0"]]} for task in tasks
        },
        "rows": [],
    }  # fmt: skip


def _task_settings(task: str) -> dict[str, Any]:
    """The table of an experiment file for `toy/closed-set` or `toy/closed-set/noise=0.1`."""
    name, _, noise = task.partition("/noise=")
    dataset, protocol = name.split("/")[:2]
    return {"dataset": dataset, "protocol": protocol, "label_noise": float(noise) if noise else None}


def fill(
    root: Path,
    recipes: dict[str, list[float]],
    *,
    status: dict[tuple[str, int], str] | None = None,
    missing: set[tuple[str, int]] = frozenset(),  # type: ignore[assignment]
    raw: dict[str, list[float]] | None = None,
    compact: dict[str, list[float]] | None = None,
    dim: int = 4,
    classes: int = 3,
    seeds: int = 1,
    trials: int = 2,
    optimism: float | None = None,
    default: dict[str, float] | None = None,
    longer: dict[str, list[float]] | None = None,
    jackknife: dict[str, list[float]] | None = None,
    tasks: tuple[str, ...] = (TASK,),
    baselines: tuple[str, ...] = ("untrained", "pixels"),
    untrained: float = 0.1,
    pixels: float = 0.2,
    claims: Sequence[Claim] = (),
    post_hoc: bool = False,
    loss: dict[str, list[float]] | None = None,
    epochs: tuple[int, ...] = tuple(range(EPOCHS + 1)),
) -> Path:
    """Store an experiment `toy` in which recipe r has test MAP@R `recipes[r][i]` in study i + 1; return `root`.

    Args:
        status, missing: of (recipe, study).
        raw, compact: MAP@R of the raw space and compactness, as `recipes`.
        seeds: final runs of a study; their scores lie evenly around the study's.
        optimism: by how much a chosen trial scored above its fresh candidates; None stores no candidates.
        default: recipe to what its default point loses against the tuned one (.05 without).
        epochs: those that curves have values at.
        longer: scores after twice the epochs, of the first studies.
        jackknife: recipe to the MAP@R without each group of test classes, less that with all of them.
    """
    store = Store(root)
    (root / "experiments").mkdir(parents=True, exist_ok=True)
    studies = max((len(scores) for scores in recipes.values()), default=0)
    document = plan(recipes, studies=studies, seeds=seeds, trials=trials, tasks=tasks)
    document["experiment"]["baselines"] = list(baselines)
    document["experiment"]["claims"] = [claim.model_dump(mode="json") for claim in claims]
    register(store, "toy", claims, seen=post_hoc)
    rows = document["rows"]
    for task in tasks:
        dataset, _, protocol = task.partition("/")

        def put(
            recipe: str,
            role: str,
            study: int,
            seed: int,
            trial: int | None,
            score: float,
            dataset: str = dataset,
            protocol: str = protocol,
            task: str = task,
        ) -> None:
            name = repr((task, recipe, role, study, seed, trial))
            run_id = hashlib.sha256(name.encode()).hexdigest()[:16]
            params = {} if role == "baseline" else {"lr": 0.001 * (1 + (trial or 0))}
            rows.append({"dataset": dataset, "protocol": protocol, "study": study, "recipe": recipe, "role": role,
                         "trial": trial, "seed": seed, "run_id": run_id, "params": params})  # fmt: skip
            if (recipe, study) in missing and role == "final":
                return
            state = (status or {}).get((recipe, study), "ok") if role == "final" else "ok"
            record = _record(run_id, role, state, score)
            if "curves" in record:
                record["curves"]["epoch"] = list(epochs[: len(record["curves"]["epoch"])])
            if recipe in (loss or {}) and state != "failed" and role != "baseline":
                record["curves"]["loss"] = [None, *(loss or {})[recipe]]
            other = (raw or {}).get(recipe)
            if role == "final" and state != "failed":
                record["metrics"]["test"]["euclidean.map_at_r"] = other[study - 1] if other else score
                ratio = (compact or {}).get(recipe)
                if ratio:
                    record["metrics"]["test"]["sphere.intra_inter_ratio"] = ratio[study - 1]
                    record["metrics"]["test"]["sphere.scatter_ratio"] = ratio[study - 1]
            whole = role in ("final", "baseline") and seed == 1 and state != "failed"
            arrays = _arrays(study, dim, classes) if whole else None
            if arrays and recipe in (jackknife or {}):
                others = study % 2 if protocol == "verification" else 0  # a fold of its own: not as many people
                arrays["jackknife.sphere.map_at_r"] = score + np.array((jackknife or {})[recipe])[others:]
            first = role == "final" and (study, seed) == (1, 1)
            store.write(
                record, arrays=arrays, audit={"test_map_at_r": [0.1, score, score + 0.01, None]} if first else None
            )

        for recipe, scores in recipes.items():
            for study, score in enumerate(scores, 1):
                for trial in range(trials):
                    put(recipe, "trial", study, 0, trial, 0.4 + 0.02 * trial)
                for seed in (1, 2) if optimism is not None else ():
                    put(recipe, "candidate", study, seed, 1, 0.42 - (optimism or 0.0) + 0.01 * (seed - 1.5))
                for seed in range(1, seeds + 1):
                    shift = 0.004 * (seed - (seeds + 1) / 2)
                    if study <= 2:
                        put(recipe, "default", study, seed, 0, score + shift - (default or {}).get(recipe, 0.05))
                    put(recipe, "final", study, seed, 1, score + shift)
            for study, score in enumerate((longer or {}).get(recipe, ()), 1):
                put(recipe, "longer", study, 1, 1, score)
        for study in range(1, studies + 1) if "untrained" in baselines else ():
            put("untrained", "baseline", study, 1, None, untrained + 0.001 * study)
        if "pixels" in baselines:
            put("pixels", "baseline", 1, 1, None, pixels)
    document["planned_runs"] = len(rows)
    store.write_plan(document)
    return root


def _record(run_id: str, role: str, status: str, score: float) -> dict[str, Any]:
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "run_id": run_id,
        "status": status,
        "environment": {"python": "3.11", "system": "test"},
        "cost": {"run_wall_s": 1.0, "train_wall_s": 0.8, "forward_s": 0.4, "loss_s": 0.1, "images_per_s": 1000.0,
                 "peak_memory_bytes": 3e8, "tuples_per_step": 0.0, "loss_parameters": 10.0},
    }  # fmt: skip
    if status == "failed":
        return record | {"error": "RuntimeError: no"}
    record["metrics"] = {"val": {"sphere.map_at_r": score}}
    if role not in ("trial", "candidate"):
        record["metrics"]["test"] = {
            "sphere.map_at_r": score,
            "sphere.precision_at_1": min(1.0, score + 0.2),
            "sphere.intra_inter_ratio": 1 - score,
            "sphere.scatter_ratio": 1 - score,
            "sphere.intra_mean": 0.5,
        }
    record["best_epoch"] = 0 if role == "baseline" else 2
    wall = [0.0] if role == "baseline" else [0.0, 0.3, 0.6, 0.8]
    record["curves"] = {
        "epoch": list(range(len(wall))),
        "loss": [None, 2.0, 1.0, 0.5][: len(wall)],
        "val_map_at_r": [0.1, score - 0.1, score, score - 0.01][: len(wall)],
        "wall_s": wall,
    }
    return record


def _arrays(seed: int, dim: int, classes: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), 6)
    points = rng.normal(size=(classes, dim))[labels] * 3 + rng.normal(size=(len(labels), dim))
    index = np.arange(0, len(labels), 2)
    counts = rng.integers(1, 50, size=16)
    return {
        "embeddings": points.astype(np.float32),
        "labels": labels,
        "epochs.embeddings": np.stack([points[index] * (epoch + 1) / 4 for epoch in range(EPOCHS + 1)]).astype("f2"),
        "epochs.index": index,
        "histogram.sphere.edges": np.linspace(0, 2, 17),
        "histogram.sphere.genuine": counts,
        "histogram.sphere.impostor": counts[::-1].copy(),
    }

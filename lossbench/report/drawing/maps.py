"""Embedding maps: the test embeddings of one run for each recipe, in two dimensions, with class centers.

Two-dimensional embeddings are shown as they are, others by the two principal components of that run's own
test embeddings. The run is the one with the median score, so that no map flatters its recipe.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lossbench.report.drawing.figures import WIDTH, Picture, dots
from lossbench.report.drawing.palette import CLASS_COLORS
from lossbench.report.drawing.svg import CARD, FAINT, INK, render, styled
from lossbench.report.evidence.material import PRIMARY, Material
from lossbench.report.writing import formats
from lossbench.specification.experiment import UNSEEDED
from lossbench.specification.task import named_in

MAX_CLASSES = 12
LONGEST_NAME = 30  # characters of a class in the legend
DRAWN = 1200  # samples in a printed map: more only cover each other
RESOLUTION = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingMap:
    """One recipe's map.

    Attributes:
        points: (N, 2) of the shown classes; `labels` (N,) their classes, `ids` (N,) their places among test.
        centers: (C, 2) means of all test samples of the shown classes, in the order of `classes`.
        epochs: (looks, n, 2) of the samples that were kept at every validated epoch; empty where none were.
        looks: those epochs, 0 first; `epoch_ids` (n,) places of the samples among test.
        epoch_centers: (looks, C, 2) of the loss's own centers of the shown classes; empty where none were kept.
        explained: share of the variance on the two axes; NaN where the embedding has two dimensions itself.
    """

    recipe: str
    run_id: str
    study: int
    score: float
    points: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    classes: np.ndarray
    centers: np.ndarray
    epochs: np.ndarray
    looks: tuple[int, ...]
    epoch_labels: np.ndarray
    epoch_ids: np.ndarray
    epoch_centers: np.ndarray
    chosen_epoch: int
    explained: float
    total_classes: int


def shown_classes(labels: np.ndarray) -> np.ndarray:
    """Every class, or a fixed seeded choice of twelve where there are more: the same for every recipe."""
    classes = np.unique(labels)
    if len(classes) <= MAX_CLASSES:
        return classes
    return np.sort(np.random.default_rng(0).choice(classes, MAX_CLASSES, replace=False))


def plane(embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Origin (D,), axes (D, 2) and share of variance of the map: native for D = 2, else PCA.

    The sign of each axis is fixed by its largest loading, so that the same embeddings give the same map.
    """
    points = embeddings.astype(np.float64)
    if points.shape[1] == 2:
        return np.zeros(2), np.eye(2), float("nan")
    origin = points.mean(axis=0)
    away = points - origin
    variances, axes = np.linalg.eigh(away.T @ away)  # ascending; D x D, a hundred times faster than an SVD of N x D
    axes = axes[:, :-3:-1]
    if axes.shape[1] < 2:
        axes = np.pad(axes, ((0, 0), (0, 2 - axes.shape[1])))
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), [0, 1]] < 0, -1.0, 1.0)
    total = float(variances.sum())
    return origin, axes, float(variances[-2:].sum()) / total if total > 0 else float("nan")


def embedding_map(material: Material, task: str, recipe: str, *, sphere: bool = False) -> EmbeddingMap | None:
    """The map of a recipe's median run; None where its embeddings are not stored."""
    run = material.representative(task, recipe)
    arrays = material.arrays(run) if run else {}
    if run is None or "embeddings" not in arrays or not np.isfinite(arrays["embeddings"]).all():
        return None
    rows = material.rows(task, recipe)
    row = rows[rows["run_id"] == run].iloc[0]
    labels, embeddings = arrays["labels"], arrays["embeddings"].astype(np.float64)
    history = arrays.get("epochs.embeddings", np.empty((0, 0, embeddings.shape[1]))).astype(np.float64)
    moving = _own_centers(task, arrays, len(np.unique(labels)))
    if sphere:
        embeddings, history, moving = _unit(embeddings), _unit(history), _unit(moving)
    classes = shown_classes(labels)
    origin, axes, explained = plane(embeddings)
    flat = (embeddings - origin) @ axes
    shown = np.isin(labels, classes)
    index = arrays.get("epochs.index", np.empty(0, dtype=int))
    followed = np.isin(labels[index], classes)
    return EmbeddingMap(
        recipe=recipe,
        run_id=run,
        study=int(row["study"]),
        score=float(row[PRIMARY]),
        points=flat[shown],
        labels=labels[shown],
        ids=np.flatnonzero(shown),
        classes=classes,
        centers=np.array([flat[labels == name].mean(axis=0) for name in classes]),
        epochs=(history[:, followed] - origin) @ axes if history.size else np.empty((0, 0, 2)),
        looks=tuple(material.epochs(task, recipe).tolist()),
        epoch_labels=labels[index][followed],
        epoch_ids=index[followed],
        epoch_centers=(moving[:, classes] - origin) @ axes if moving.size else np.empty((0, 0, 2)),
        chosen_epoch=int(row["best_epoch"]),
        explained=explained,
        total_classes=len(np.unique(labels)),
    )


def _own_centers(task: str, arrays: Mapping[str, np.ndarray], classes: int) -> np.ndarray:
    """Centers (epochs + 1, C, D) where one stands for each class that the map shows: not for unseen classes."""
    found = arrays.get("epochs.centers", np.empty((0, 0, 0))).astype(np.float64)
    return found if named_in(task)[1] == "closed-set" and found.shape[1] == classes else np.empty((0, 0, 0))


def found_maps(material: Material, task: str, *, sphere: bool = False) -> list[EmbeddingMap]:
    """The maps of every recipe, and of the untrained network, that has one."""
    names = [*material.featured(task), *[name for name in material.baselines if name not in UNSEEDED]]
    maps = [embedding_map(material, task, name, sphere=sphere) for name in names]
    return [item for item in maps if item is not None]


def description(maps: list[EmbeddingMap]) -> str:
    """What the maps show, and what they leave out."""
    first = maps[0]
    text = "Test embeddings of each recipe's run with the median score; numbers mark class means. "
    if np.isnan(first.explained):
        text += "The embedding has two dimensions and is shown as it is."
        if any(item.epoch_centers.size for item in maps):
            text += " Where the page shows a single epoch, numbers mark the loss's own centers."
    else:
        text += "Two principal components of that run's own: axes and scales differ between maps."
    if first.total_classes > len(first.classes):
        text += f" {len(first.classes)} of {first.total_classes} classes are shown, the same in every map (fixed draw)."
    return text


@styled
def small_multiples(material: Material, task: str, name: str) -> Picture | None:
    """The maps beside each other, for Markdown, print, and readers without scripts."""
    maps = found_maps(material, task)
    if not maps:
        return None
    columns = 2
    rows = (len(maps) + columns - 1) // columns
    figure = Figure(figsize=(WIDTH, 2.05 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, item in zip(grid.flat, maps, strict=False):
        _draw(axes, item)
    for axes in list(grid.flat)[len(maps) :]:
        axes.set_visible(False)
    names = ", ".join(item.recipe for item in maps)
    alt = f"Embedding maps of {names}. {description(maps)}"
    svg = render(figure, name=name, alt=alt)
    return Picture(name=name, title=f"{task}: embedding maps", alt=alt, svg=svg, caption=description(maps))


def interactive(material: Material, task: str) -> dict[str, Any] | None:
    """The maps as numbers for the page's canvas: 16-bit coordinates in base64, both spaces."""
    raw, sphere = found_maps(material, task), found_maps(material, task, sphere=True)
    if not raw:
        return None
    return {
        "task": task,
        "classes": [int(name) for name in raw[0].classes],
        "names": (names := _names(material, raw[0])),
        "short": formats.class_names(names, LONGEST_NAME),
        "colors": list(CLASS_COLORS),
        "epochs": max(([*item.looks] for item in raw), key=len),
        "maps": [_packed(one, other) for one, other in zip(raw, sphere, strict=True)],
    }


def _names(material: Material, item: EmbeddingMap) -> list[str]:
    """What the shown classes are called; their numbers where no names are stored."""
    names = material.arrays(item.run_id).get("class_names")
    return [str(label) if names is None or label >= len(names) else str(names[label]) for label in item.classes]


def subtitle(item: EmbeddingMap) -> str:
    """Seed, score and variance of a map, for its caption."""
    text = f"study {item.study}, MAP@R {formats.score(item.score)}"
    return text if np.isnan(item.explained) else f"{text}, {formats.share(item.explained)} of variance"


def _packed(raw: EmbeddingMap, sphere: EmbeddingMap) -> dict[str, Any]:
    return {
        "recipe": raw.recipe,
        "chosen": raw.chosen_epoch,
        "labels": raw.labels.tolist(),
        "ids": raw.ids.tolist(),
        "followed": raw.epoch_labels.tolist(),
        "followedIds": raw.epoch_ids.tolist(),
        "spaces": {
            space: {"note": subtitle(item), **_coordinates(item)} for space, item in (("raw", raw), ("sphere", sphere))
        },
    }


def _coordinates(item: EmbeddingMap) -> dict[str, Any]:
    """Points, centers and epochs as little-endian unsigned 16-bit pairs; each epoch fills its own square."""
    points, centers = _packed_square(item.points, item.centers)
    moving = item.epoch_centers if len(item.epoch_centers) else np.empty((len(item.epochs), 0, 2))
    epochs = [_packed_square(*pair) for pair in zip(item.epochs, moving, strict=True)]
    return {
        "points": points,
        "centers": centers,
        "epochs": [each for each, _ in epochs],
        "epochCenters": [own for _, own in epochs] if len(item.epoch_centers) else [],
    }


def _packed_square(*parts: np.ndarray) -> list[str]:
    """Points in base64, of all parts on the one scale that holds them."""
    everything = np.concatenate(parts)
    everything = everything[np.isfinite(everything).all(axis=1)]
    low, high = (everything.min(axis=0), everything.max(axis=0)) if len(everything) else (np.zeros(2), np.ones(2))
    middle, half = (low + high) / 2, max(float((high - low).max()) / 2, 1e-12) * 1.06
    scaled = [(np.nan_to_num(part) - middle) / half * 0.5 + 0.5 for part in parts]
    return [
        base64.b64encode((each.clip(0, 1) * RESOLUTION).round().astype("<u2").tobytes()).decode() for each in scaled
    ]


def _unit(points: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(points, axis=-1, keepdims=True)
    return points / np.where(norms > 0, norms, 1.0)


def _draw(axes: Any, item: EmbeddingMap) -> None:
    for index, name in enumerate(item.classes):
        color = CLASS_COLORS[index % len(CLASS_COLORS)]
        own = item.points[item.labels == name]
        dots(axes, own[:: -(-len(item.points) // DRAWN)], color, size=2.4)
    for index, (name, center) in enumerate(zip(item.classes, item.centers, strict=True)):
        color = CLASS_COLORS[index % len(CLASS_COLORS)]
        axes.text(*center, str(name), fontsize=6.5, fontweight="bold", color=INK, ha="center", va="center",
                  bbox={"boxstyle": "round,pad=0.18", "facecolor": CARD, "edgecolor": color, "linewidth": 1.1,
                        "alpha": 0.85})  # fmt: skip
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
    axes.set_title(f"{formats.shortened(item.recipe)}\n", fontsize=8)
    axes.text(0, 1.02, subtitle(item), transform=axes.transAxes, fontsize=6.3, color=FAINT, va="bottom")

"""Two-dimensional features as the centre-loss paper shows them: training and test with the centers, and by epoch.

Only experiments with D = 2 keep what these figures need. The run is the one with the median score, as in the maps.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from lossbench.report.drawing.figures import WIDTH, Picture, done, dots
from lossbench.report.drawing.palette import CLASS_COLORS
from lossbench.report.drawing.svg import FAINT, INK, styled
from lossbench.report.evidence.material import Material
from lossbench.report.writing import formats
from lossbench.specification.task import named_in

DRAWN = 600  # samples in a panel: more only cover each other
Draw = Callable[[Any, np.ndarray, str], None]
LONGEST_FRAME_MS, LAST_FRAME_MS, ALL_FRAMES_MS = 700, 2500, 7000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One recipe's features.

    Attributes:
        train, test: (N, 2) with labels (N,), a fixed sample of training and all of test, at the chosen epoch.
        epochs: those that were validated, 0 first; `chosen` is one of them.
        history: (epochs, n, 2) of a fixed sample of test, with labels (n,).
        centers: (epochs, C, 2) of the loss's own centers; no epochs where it has none.
        figures: figure to value, of this run: accuracies and compactness.
    """

    recipe: str
    study: int
    chosen: int
    epochs: tuple[int, ...]
    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    history: np.ndarray
    history_labels: np.ndarray
    centers: np.ndarray
    figures: dict[str, float]

    @property
    def chosen_centers(self) -> np.ndarray:
        """(C, 2) at the chosen epoch; no rows where the loss has none."""
        at = self.epochs.index(self.chosen) if self.chosen in self.epochs else len(self.centers)
        return self.centers[at] if len(self.centers) > at else np.empty((0, 2))


def planes(material: Material, task: str) -> list[Plane]:
    """The features of every recipe whose median run kept them; closed-set tasks only, where labels are the same."""
    if named_in(task)[1] != "closed-set":
        return []
    return [found for recipe in material.recipes if (found := _plane(material, task, recipe)) is not None]


def picture(material: Material, task: str, name: str) -> Picture | None:
    """Training and test features of each recipe side by side, with accuracy and compactness."""
    found = planes(material, task)
    return _draw(task, name, found) if found else None


def animation(material: Material, task: str) -> bytes | None:
    """A GIF of the test features by epoch, one panel a recipe, the same axes throughout; None without features."""
    found = planes(material, task)
    return _animate(found) if found else None


def _plane(material: Material, task: str, recipe: str) -> Plane | None:
    run = material.representative(task, recipe)
    arrays = material.arrays(run) if run else {}
    if run is None or "train.embeddings" not in arrays or not np.isfinite(arrays["embeddings"]).all():
        return None
    rows = material.rows(task, recipe)
    row: dict[Any, Any] = rows[rows["run_id"] == run].iloc[0].to_dict()
    history = arrays["epochs.embeddings"].astype(np.float64)
    columns = {
        "train": "train.head_accuracy",
        "test": "test.head_accuracy",
        "intra/inter": "test.euclidean.intra_inter_ratio",
    }
    return Plane(
        recipe=recipe,
        study=int(row["study"]),
        chosen=int(row["best_epoch"]),
        epochs=tuple(material.epochs(task, recipe).tolist()),
        train=arrays["train.embeddings"].astype(np.float64),
        train_labels=arrays["train.labels"],
        test=arrays["embeddings"].astype(np.float64),
        test_labels=arrays["labels"],
        history=history,
        history_labels=arrays["labels"][arrays["epochs.index"]],
        centers=arrays.get("epochs.centers", np.empty((0, 0, 2))).astype(np.float64),
        figures={name: float(row.get(column, float("nan"))) for name, column in columns.items()},
    )


@styled
def _draw(task: str, name: str, found: Sequence[Plane]) -> Picture:
    figure = Figure(figsize=(WIDTH, 0.35 + 1.95 * len(found)), layout="constrained")
    grid = figure.subplots(len(found), 2, squeeze=False)
    said = []
    for row, plane in zip(grid, found, strict=True):
        for axes, kind in zip(row, ("train", "test"), strict=True):
            points, labels = getattr(plane, kind), getattr(plane, f"{kind}_labels")
            limits = _limits([plane.train, plane.test])
            _panel(axes, points, labels, plane.chosen_centers, limits, edge=INK)
            _scale(axes)
            accuracy = plane.figures[kind]
            note = "training" if kind == "train" else "test"
            note += f", accuracy {formats.score(accuracy)}" if np.isfinite(accuracy) else ""
            axes.set_title(f"{formats.shortened(plane.recipe) if kind == 'train' else ''}\n", fontsize=8)
            axes.text(0, 1.02, note, transform=axes.transAxes, fontsize=6.3, color=FAINT, va="bottom")
        ratio = formats.score(plane.figures["intra/inter"])
        row[1].set_title(f"intra/inter {ratio}\n", fontsize=7.5, fontweight="normal", loc="right")
        said.append(f"{plane.recipe}: test accuracy {formats.score(plane.figures['test'])}, intra/inter {ratio}")
    caption = (
        "Features as they are, two-dimensional, of the run with the median score; scales differ between recipes. "
        f"White dots: the loss's own centers. At most {DRAWN} samples of a split are drawn; accuracy of the head and "
        "intra/inter (raw, test) are those of the whole split."
    )
    alt = f"Training and test features with centers. {'; '.join(said)}."
    shown = done(figure, name, f"{task}: two-dimensional features", alt)
    return Picture(name=name, title=shown.title, alt=alt, svg=shown.svg, caption=caption)


def _animate(found: Sequence[Plane]) -> bytes:
    frames = [_frame(found, look) for look in range(max(len(plane.history) for plane in found))]
    palette = frames[-1].quantize(colors=64, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [min(LONGEST_FRAME_MS, ALL_FRAMES_MS // len(small))] * (len(small) - 1) + [LAST_FRAME_MS]
    file = io.BytesIO()
    small[0].save(file, "GIF", save_all=True, append_images=small[1:], duration=durations, loop=0, optimize=True)
    return file.getvalue()


def _frame(found: Sequence[Plane], look: int) -> Image.Image:
    """The features at one of the validated epochs, of all recipes side by side."""
    epoch = max((plane.epochs for plane in found), key=len)[look]
    columns = min(len(found), 3)
    rows = -(-len(found) // columns)
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 7}):
        figure = Figure(figsize=(1.9 * columns, 0.25 + 2.0 * rows), dpi=110, layout="constrained", facecolor="white")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, plane in zip(grid.flat, found, strict=False):
            at = min(look, len(plane.history) - 1)
            centers = plane.centers[at] if len(plane.centers) > at else np.empty((0, 2))
            limits = _limits([*plane.history, plane.centers.reshape(-1, 2)])
            _panel(axes, plane.history[at], plane.history_labels, centers, limits, edge="black", draw=_markers)
            axes.set_title(formats.shortened(plane.recipe), fontsize=7, loc="left")
        for axes in list(grid.flat)[len(found) :]:
            axes.set_visible(False)
        figure.suptitle(f"epoch {epoch}{' (untrained)' if epoch == 0 else ''}", fontsize=8, x=0.02, ha="left")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _panel(
    axes: Any,
    points: np.ndarray,
    labels: np.ndarray,
    centers: np.ndarray,
    limits: np.ndarray,
    *,
    edge: str,
    draw: Draw = dots,
) -> None:
    """Features by class under the centers, on a square of the given limits ((low, high) of x and of y)."""
    step = -(-len(points) // DRAWN)
    points, labels = points[::step], labels[::step]
    for index, label in enumerate(np.unique(labels)):
        draw(axes, points[labels == label], CLASS_COLORS[index % len(CLASS_COLORS)])
    axes.plot(centers[:, 0], centers[:, 1], "o", color="white", markersize=3.6, markeredgecolor=edge,
              markeredgewidth=0.8)  # fmt: skip
    axes.set_xlim(*limits[0])
    axes.set_ylim(*limits[1])
    axes.set_aspect("equal", adjustable="box")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)


def _scale(axes: Any) -> None:
    """A few ticks: how large features are is part of what the figure shows."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axes.tick_params(labelsize=5.5, length=2, pad=1.5, labelcolor=FAINT)


def _markers(axes: Any, points: np.ndarray, color: str) -> None:
    """The same for pixels, where a stroke of no length leaves none."""
    axes.plot(points[:, 0], points[:, 1], "o", markersize=2.0, color=color, alpha=0.6, markeredgewidth=0)


def _limits(clouds: Sequence[np.ndarray]) -> np.ndarray:
    """((low, high), (low, high)) of a square around all but the farthest half per cent of the points."""
    points = np.concatenate([cloud.reshape(-1, 2) for cloud in clouds])
    low, high = np.quantile(points[np.isfinite(points).all(axis=1)], [0.005, 0.995], axis=0)
    middle, half = (low + high) / 2, max(float((high - low).max()) / 2, 1e-6) * 1.12
    return np.stack([middle - half, middle + half], axis=1)

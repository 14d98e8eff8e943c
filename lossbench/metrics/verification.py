"""Verification: do two samples belong to one class? A score for each pair, higher meaning more alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossbench.metrics.inputs import Array, as_tensor, read_sample
from lossbench.metrics.pairs import MAX_PAIRS, PairDistances, pair_distances

# FAR target 10^-e is named here and written as 1 in so many impostor pairs, which integers compare exactly.
FAR_TARGETS = {"0.1": 10, "0.01": 100, "0.001": 1_000, "0.0001": 10_000}
_LEAST_ACCEPTED = 10


def verification_metrics(scores: Array, same: Array) -> dict[str, float]:
    """Figures of the ROC over pairs: area, equal error rate, true accept rate at fixed false accept rates.

    A pair is accepted where its score is at least the threshold, so tied scores are accepted together. `auc` counts
    a tie half. `eer` is where the lines between neighboring points of the ROC have FAR = 1 - TAR.
    `tar_at_far_x` is taken at the lowest threshold whose FAR does not exceed x, without interpolation, and is NaN
    where x times the number of impostor pairs is below 10: so few pairs cannot resolve it.

    Args:
        scores: (P,) finite, higher means more alike.
        same: (P,) whether the pair is of one class: bool, or 0 and 1.

    Returns:
        `auc`, `eer`, `tar_at_far_0.1`, `tar_at_far_0.01`, `tar_at_far_0.001`, `tar_at_far_0.0001`.

    Raises:
        ValueError: arrays that do not fit, scores that are not finite, pairs of one kind only.

    >>> import numpy as np
    >>> found = verification_metrics(np.array([0.9, 0.6, 0.4, 0.1]), np.array([1, 0, 1, 0]))
    >>> found["auc"], found["eer"]
    (0.75, 0.5)
    """
    values, truth = _read_pairs(scores, same, both=True)
    return _figures(values[truth], values[~truth])


def pair_verification(pairs: PairDistances) -> dict[str, float]:
    """`verification_metrics` of distances that are at hand, the nearer the more alike.

    Raises:
        ValueError: pairs of one kind only.
    """
    if not (len(pairs.genuine) and len(pairs.impostor)):
        raise ValueError("pairs: a ROC needs genuine and impostor pairs")
    return _figures(-pairs.genuine, -pairs.impostor)


def pair_scores(
    embeddings: Array, labels: Array, *, max_pairs: int = MAX_PAIRS, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Minus the Euclidean distance of all pairs i < j, and whether each is of one class; genuine pairs first.

    Above `max_pairs` pairs, exactly that many are taken: all genuine pairs as long as they fill no more than half,
    the rest drawn evenly from the impostor pairs. Every figure of `verification_metrics` depends on the two
    distributions separately, so their proportion in the sample does not bias it.

    Args:
        embeddings: (N, D) floating.
        labels: (N,) integers of any values; samples alone in their class take part in impostor pairs.
        max_pairs: number of pairs above which they are sampled.
        seed: fixes that sample.

    Returns:
        Scores (P,) float64 and same (P,) bool.

    Raises:
        ValueError: arrays that do not fit, values that are not finite.

    >>> import numpy as np
    >>> scores, same = pair_scores(np.array([[0.0], [1.0], [4.0]]), np.array([7, 7, 8]))
    >>> scores.tolist(), same.tolist()
    ([-1.0, -4.0, -3.0], [True, False, False])
    """
    pairs = pair_distances(*read_sample(embeddings, labels), max_pairs=max_pairs, seed=seed)
    scores = -torch.cat([pairs.genuine, pairs.impostor])
    return scores, torch.arange(len(scores), device=scores.device) < len(pairs.genuine)


def best_threshold(scores: Array, same: Array) -> float:
    """The threshold that classifies these pairs best: to be chosen on one fold and applied to another.

    It lies midway between the scores it parts; of equally good thresholds it is the highest, which accepts the
    fewest.

    Args:
        scores: (P,) finite, higher means more alike.
        same: (P,) whether the pair is of one class: bool, or 0 and 1.

    Returns:
        The threshold; a pair is accepted where its score is at least that.

    Raises:
        ValueError: arrays that do not fit, no pairs, scores that are not finite.

    >>> import numpy as np
    >>> best_threshold(np.array([0.9, 0.7, 0.3, 0.1]), np.array([1, 1, 0, 0]))
    0.5
    """
    levels, accepted, wrong = _roc(*_read_pairs(scores, same, both=False))
    best = int((accepted - wrong).argmax())  # the first of equals, and levels fall
    above = float(levels[best - 1]) if best else math.inf
    if best == 0:
        return math.nextafter(float(levels[0]), above)
    if best == len(levels):
        return above
    below = float(levels[best])
    middle = below / 2 + above / 2
    return middle if middle > below else above


def accuracy_at(scores: Array, same: Array, threshold: float) -> float:
    """The share of pairs that are judged rightly when a score of at least `threshold` means the same class.

    Args:
        scores: (P,) finite, higher means more alike.
        same: (P,) whether the pair is of one class: bool, or 0 and 1.
        threshold: as `best_threshold` gives it.

    Raises:
        ValueError: arrays that do not fit, no pairs, scores that are not finite, a threshold that is NaN.

    >>> import numpy as np
    >>> accuracy_at(np.array([0.9, 0.7, 0.3, 0.1]), np.array([1, 0, 0, 0]), 0.5)
    0.75
    """
    if math.isnan(threshold):
        raise ValueError("threshold: nan is not a number")
    values, truth = _read_pairs(scores, same, both=False)
    return float(((values >= threshold) == truth).double().mean())


def _read_pairs(scores: Array, same: Array, *, both: bool) -> tuple[Tensor, Tensor]:
    values, truth = as_tensor(scores, "scores"), as_tensor(same, "same")
    if values.ndim != 1 or not len(values):
        raise ValueError(f"scores: shape {tuple(values.shape)} is not (P,) with P at least 1")
    if truth.shape != values.shape:
        raise ValueError(f"same: shape {tuple(truth.shape)} is not that of the scores, {tuple(values.shape)}")
    if truth.dtype != torch.bool and not ((truth == 0) | (truth == 1)).all():
        raise ValueError("same: values other than 0 and 1")
    values = values.to(torch.float64)
    if not values.isfinite().all():
        raise ValueError(f"scores: {float(values[~values.isfinite()][0])} is not finite")
    truth = truth.to(device=values.device, dtype=torch.bool)
    if both and (truth.all() or not truth.any()):
        kind = "genuine" if truth.all() else "impostor"
        raise ValueError(f"same: all {len(truth)} pairs are {kind}; a ROC needs both kinds")
    return values, truth


def _figures(genuine_scores: Tensor, impostor_scores: Tensor) -> dict[str, float]:
    accepted, wrong = _roc_corners(genuine_scores.cpu().numpy(), impostor_scores.cpu().numpy())
    genuine, impostor = len(genuine_scores), len(impostor_scores)
    twice_area = int(((accepted[1:] + accepted[:-1]) * wrong.diff()).sum())
    figures = {
        "auc": twice_area / (2 * genuine * impostor),
        "eer": _equal_error_rate(accepted.double() / genuine, wrong.double() / impostor),
    }
    for name, one_in in FAR_TARGETS.items():
        enough = impostor >= _LEAST_ACCEPTED * one_in
        within = int((wrong * one_in <= impostor).sum())
        figures[f"tar_at_far_{name}"] = int(accepted[within - 1]) / genuine if enough else math.nan
    return figures


def _roc_corners(genuine: NDArray[Any], impostor: NDArray[Any]) -> tuple[Tensor, Tensor]:
    """Accepted genuine and impostor pairs at the points where the ROC turns, from none to all.

    Between two genuine scores the ROC runs level, so the points just before and at each of them draw all of it.
    Two sorts by NumPy are several times faster than one stable sort that carries the truth along.
    """
    levels = np.unique(genuine)[::-1]
    counts = []
    for values in (np.sort(genuine), np.sort(impostor)):
        above = len(values) - np.stack([np.searchsorted(values, levels, side) for side in ("right", "left")], 1)
        counts.append(torch.from_numpy(np.concatenate([[0], above.ravel(), [len(values)]])))
    return counts[0], counts[1]


def _roc(scores: Tensor, same: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct scores (T,), falling, and accepted genuine and impostor pairs (T + 1,) from none to all."""
    values, order = scores.sort(descending=True, stable=True)
    last = torch.cat([values.diff() != 0, torch.ones_like(same[:1])])  # of each group of equal scores
    accepted = same[order].cumsum(0)[last]
    total = torch.arange(1, len(values) + 1, device=values.device)[last]
    none = accepted.new_zeros(1)
    return values[last], torch.cat([none, accepted]), torch.cat([none, total - accepted])


def _equal_error_rate(tar: Tensor, far: Tensor) -> float:
    """FAR where the polygon of the ROC crosses FAR = FRR."""
    gap = 1 - tar - far  # 1 at the first point, -1 at the last, never rising
    right = int((gap <= 0).int().argmax())
    before, after = float(gap[right - 1]), float(gap[right])
    share = before / (before - after)
    start, stop = float(far[right - 1]), float(far[right])
    return start + share * (stop - start)

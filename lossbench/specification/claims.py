"""What an experiment claims: the figures that claims may rest on, and the digest by which a claim is known."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lossbench.plugins.mistakes import nearest
from lossbench.specification.experiment import Claim
from lossbench.specification.parsing import toml_path
from lossbench.specification.spec import canonical

SPACES = ("sphere", "euclidean")
ONE_SPLIT = (
    "intra_mean", "intra_variance", "inter_mean", "inter_nearest", "intra_inter_ratio", "scatter_ratio",
    "pair_intra_mean", "pair_inter_mean", "d_prime", "pi_ratio", "rho", "effective_rank",
    "map_at_r", "precision_at_1", "r_precision", "recall_at_1", "recall_at_2", "recall_at_4", "recall_at_8",
    "mean_average_precision", "cmc_at_1", "cmc_at_5", "cmc_at_10",
)  # fmt: skip
TEST_ONLY = (
    "auc", "eer", "tar_at_far_0.1", "tar_at_far_0.01", "tar_at_far_0.001", "tar_at_far_0.0001",
    "nearest_mean_accuracy", "knn_accuracy",
)  # fmt: skip
# Figures that the report derives from curves and from the cost probe.
STEPS_TO_SCORE = "curve.steps_to_score"
STEP_RELATIVE, STEP_S, LOSS_S = "probe.step_relative", "probe.step_s", "probe.loss_s"
TIMED = (STEP_RELATIVE, STEP_S, LOSS_S)
DERIVED = (STEPS_TO_SCORE, *TIMED)


def known_figures(plugins: Iterable[str] = ()) -> tuple[str, ...]:
    """Every name that a claim's `metric` may have; `plugins` are names of metric plugins."""
    one_split = (*ONE_SPLIT, *plugins)
    names = [f"{split}.{space}.{name}" for split in ("test", "val") for space in SPACES for name in one_split]
    names += [f"test.{space}.{name}" for space in SPACES for name in TEST_ONLY]
    return (*names, "test.head_accuracy", "train.head_accuracy", *DERIVED)


def mistakes(claims: Sequence[Claim], plugins: Iterable[str] = ()) -> list[str]:
    """What is wrong with the claims of an experiment, one line each."""
    known, lines = known_figures(plugins), []
    for position, claim in enumerate(claims):
        place = toml_path(["claims", position, "metric"])
        if claim.metric.startswith("cost."):
            lines.append(
                f"{place}: {claim.metric!r}: runs share the machine, so their costs support no claim; "
                f"use {', '.join(TIMED)}"
            )
        elif claim.metric not in known:
            lines.append(f"{place}: unknown figure {claim.metric!r}{nearest(claim.metric, known)}")
        if claim in claims[:position]:
            lines.append(f"{toml_path(['claims', position])}: is listed twice")
    return lines


def digest(claim: Mapping[str, Any]) -> str:
    """SHA-256 of a claim as the plan file holds it: an edit makes it another claim."""
    return hashlib.sha256(canonical(claim)).hexdigest()

"""Claims of an experiment: the figures they may rest on, and their registration before the first final run.

A claim that was not registered before a final run of its experiment was stored is post hoc: whoever wrote it may
have seen what it speaks of. The digest covers the claim, so that an edit makes it another one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lossbench.specification.parsing import toml_path
from lossbench.specification.spec import SCHEMA, Claim, canonical, nearest
from lossbench.store import Store, write_whole

SPACES = ("sphere", "euclidean")
ONE_SPLIT = (
    "intra_mean", "intra_variance", "inter_mean", "inter_nearest", "intra_inter_ratio", "scatter_ratio",
    "pair_intra_mean", "pair_inter_mean", "d_prime", "pi_ratio", "rho", "effective_rank",
    "map_at_r", "precision_at_1", "r_precision", "recall_at_1", "recall_at_2", "recall_at_4", "recall_at_8",
)  # fmt: skip
TEST_ONLY = (
    "auc", "eer", "tar_at_far_0.1", "tar_at_far_0.01", "tar_at_far_0.001", "tar_at_far_0.0001",
    "nearest_mean_accuracy", "knn_accuracy",
)  # fmt: skip
# Figures that the report derives from curves, trials and the cost probe.
EPOCHS_TO_95 = "curve.epochs_to_95"
FORGIVING_AREA = "tuning.forgiving_area"
STEP_RELATIVE, STEP_S, LOSS_S = "probe.step_relative", "probe.step_s", "probe.loss_s"
TIMED = (STEP_RELATIVE, STEP_S, LOSS_S)
DERIVED = (EPOCHS_TO_95, FORGIVING_AREA, *TIMED)


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
    """SHA-256 of a claim as the plan file holds it."""
    return hashlib.sha256(canonical(claim)).hexdigest()


def register(store: Store, experiment: str, claims: Sequence[Claim], *, seen: bool) -> list[str]:
    """Register the claims that are not yet; with `seen`, a final run is already stored and they are post hoc.

    Returns:
        The texts of claims that are post hoc.
    """
    known = registered(store, experiment)
    found = {digest(claim.model_dump(mode="json")): claim for claim in claims}
    new = {key: {"text": claim.text, "post_hoc": seen} for key, claim in found.items() if key not in known}
    if new:
        folder = store.root / "claims"
        folder.mkdir(parents=True, exist_ok=True)
        document = {"schema": SCHEMA, "experiment": experiment, "claims": {**known, **new}}
        write_whole(folder / f"{experiment}.json", json.dumps(document, indent=1).encode())
    current = {**known, **new}
    return sorted({claim.text for key, claim in found.items() if current[key]["post_hoc"]})


def registered(store: Store, experiment: str) -> dict[str, dict[str, Any]]:
    """Digest to text and `post_hoc` of every claim that was ever registered for an experiment."""
    try:
        document = json.loads((store.root / "claims" / f"{experiment}.json").read_bytes())
    except (OSError, ValueError):
        return {}
    claims = document.get("claims") if isinstance(document, dict) else None
    return dict(claims) if isinstance(claims, dict) else {}

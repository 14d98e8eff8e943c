"""Claims are registered in the runs folder before its first final run, with the file that stated them and the date.

A claim that was not registered before a final run of its experiment was stored is post hoc: whoever wrote it may
have seen what it speaks of. No more is known than that: a claim repeated from a paper is older than its runs, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from lossbench.specification.claims import digest
from lossbench.specification.experiment import Claim
from lossbench.store import Store


def register(store: Store, experiment: str, claims: Sequence[Claim], *, seen: bool, file_digest: str = "") -> list[str]:
    """Register the claims that are not yet; with `seen`, a final run is already stored and they are post hoc.

    Args:
        file_digest: SHA-256 of the experiment file that states them.

    Returns:
        The texts of claims that are post hoc.
    """
    known = store.read_claims(experiment)
    found = {digest(claim.model_dump(mode="json")): claim for claim in claims}
    stated = {"post_hoc": seen, "file_sha256": file_digest, "date": datetime.now(UTC).date().isoformat()}
    new = {key: {"text": claim.text, **stated} for key, claim in found.items() if key not in known}
    current = {**known, **new}
    if new:
        store.write_claims(experiment, current)
    return sorted({claim.text for key, claim in found.items() if current[key]["post_hoc"]})


def registered(store: Store, experiment: str, claims: Sequence[Claim]) -> dict[str, Mapping[str, Any]]:
    """Of each of the claims, by its digest, how it is registered."""
    known = store.read_claims(experiment)
    return {key: known[key] for claim in claims if (key := digest(claim.model_dump(mode="json"))) in known}

"""Claims are registered in the runs folder before the first final run.

A claim that was not registered before a final run of its experiment was stored is post hoc: whoever wrote it may
have seen what it speaks of.
"""

from __future__ import annotations

from collections.abc import Sequence

from lossbench.specification.claims import digest
from lossbench.specification.spec import Claim
from lossbench.store import Store


def register(store: Store, experiment: str, claims: Sequence[Claim], *, seen: bool) -> list[str]:
    """Register the claims that are not yet; with `seen`, a final run is already stored and they are post hoc.

    Returns:
        The texts of claims that are post hoc.
    """
    known = store.read_claims(experiment)
    found = {digest(claim.model_dump(mode="json")): claim for claim in claims}
    new = {key: {"text": claim.text, "post_hoc": seen} for key, claim in found.items() if key not in known}
    current = {**known, **new}
    if new:
        store.write_claims(experiment, current)
    return sorted({claim.text for key, claim in found.items() if current[key]["post_hoc"]})

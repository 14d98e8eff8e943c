"""Distance statistics within and between classes, of one space."""

from __future__ import annotations

from lossbench.report.evidence.comparisons import Evidence, distance_figures
from lossbench.report.sections.quality import figures_table
from lossbench.report.writing.cells import Table


def table(evidence: Evidence, task: str, space: str) -> Table:
    """Distance statistics of one space."""
    where = "on the unit sphere" if space == "sphere" else "in the raw space"
    note = "Means over studies with tie-group letters where a direction is wanted and a dozen are enough; exploratory. "
    note += (
        "Raw distances shrink when a loss merely scales the embeddings: compare ratios only."
        if space == "euclidean"
        else "Arrows: the wanted direction; no arrow: a description, not a goal."
    )
    title = f"Distances within and between classes {where}, {task}"
    return figures_table(evidence, task, f"distances-{space}", title, distance_figures(space), note)

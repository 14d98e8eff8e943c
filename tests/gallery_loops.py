"""Queries against a gallery by plain loops in Python's own floats: what every figure of a gallery is held against."""

from __future__ import annotations

import math

import numpy as np

FIGURES = ("map_at_r", "mean_average_precision", "cmc_at_1", "cmc_at_5", "cmc_at_10")


def by_loops(queries, labels, gallery, gallery_labels, groups=None, gallery_groups=None, places=None):
    """Every query alone: strike what is left out, sort the rest, an impostor first among equals, and count."""
    rows = []
    for q, query in enumerate(queries.tolist()):
        ranking = []
        for g, point in enumerate(gallery.tolist()):
            match = bool(gallery_labels[g] == labels[q])
            seen = groups is not None and groups[q] >= 0 and groups[q] == gallery_groups[g]
            if (match and seen) or (places is not None and places[q] == g):
                continue
            ranking.append((math.dist(query, point), match))
        ranking.sort()
        matches = [match for _, match in ranking]
        if not any(matches):
            continue
        relevant, hits, precision = sum(matches), 0, []
        for place, match in enumerate(matches, start=1):
            hits += match
            precision.append(hits / place if match else 0.0)
        cmc = [float(any(matches[:k])) for k in (1, 5, 10)]
        rows.append([sum(precision[:relevant]) / relevant, sum(precision) / relevant, *cmc])
    return dict(zip(FIGURES, np.mean(rows, 0).tolist(), strict=True)) if rows else None

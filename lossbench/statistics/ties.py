"""Tie groups: the letters under a table, by which two recipes differ exactly where they share none."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence


def tie_groups(names: Sequence[str], different: Collection[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
    """The largest sets of `names` without a pair that is `different`, in the order of `names`.

    These are the groups of a compact letter display (Piepho 2004, doi:10.1198/1061860043515): the maximal
    cliques of the graph of ties, found by Bron and Kerbosch's algorithm (1973, doi:10.1145/362342.362367).

    >>> tie_groups(["x", "y", "z"], {("x", "z")})
    (('x', 'y'), ('y', 'z'))
    """
    position = {name: index for index, name in enumerate(names)}
    apart = {frozenset(pair) for pair in different}
    ties = {a: {b for b in names if b != a and frozenset((a, b)) not in apart} for a in names}
    ordered = sorted(sorted(position[name] for name in group) for group in _cliques(set(), set(names), set(), ties))
    return tuple(tuple(names[index] for index in group) for group in ordered)


def _cliques(
    chosen: set[str], candidates: set[str], excluded: set[str], ties: Mapping[str, set[str]]
) -> Iterator[set[str]]:
    """Every maximal clique that holds `chosen`, more only from `candidates`, and no member of `excluded`."""
    if not candidates and not excluded:
        if chosen:
            yield chosen
        return
    pivot = max(candidates | excluded, key=lambda name: len(ties[name] & candidates))
    for name in candidates - ties[pivot]:  # a clique without the pivot holds one that does not tie with it
        yield from _cliques(chosen | {name}, candidates & ties[name], excluded & ties[name], ties)
        candidates = candidates - {name}
        excluded = excluded | {name}

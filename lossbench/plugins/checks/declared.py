"""What a loss says of itself."""

from __future__ import annotations

from lossbench.plugins.checks.subject import Subject, Violation
from lossbench.plugins.scaffold import SOURCE


def source(subject: Subject) -> str:
    """Where the formula comes from; what `lossbench new-loss` has put there is to be replaced."""
    if subject.plugin.source == SOURCE:
        raise Violation(f"source = {SOURCE!r} is still that of new-loss: say where your formula comes from")
    return subject.plugin.source or "not stated"

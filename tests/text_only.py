"""Reports without the figures of their tasks, for tests that read: drawing takes most of a report's time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from lossbench.executors.processes import SerialExecutor


@contextlib.contextmanager
def text_only() -> Iterator[None]:
    """No report that this process writes draws a task."""
    document = "lossbench.report.document."
    with (
        mock.patch(f"{document}_beside", return_value=SerialExecutor()),
        mock.patch(f"{document}_pictures", return_value=({}, ())),
    ):
        yield

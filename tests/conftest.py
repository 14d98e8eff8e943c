"""What all tests share: one thread, and nothing that only a power cut would show."""

from __future__ import annotations

import os

import pytest
import text_only as reports

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", ".hypothesis")
os.fsync = lambda descriptor: None  # a disk that has to be waited for tens of thousands of times


@pytest.fixture
def text_only():
    """Reports of this test have no figures of tasks."""
    with reports.text_only():
        yield

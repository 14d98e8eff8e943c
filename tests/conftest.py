"""What all tests share: one thread, and a cache that outlives no test run but is shared by its workers."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", ".hypothesis")

"""Dictionary definitions as vectors: 25,794 hyponyms of 1,410 nouns of WordNet 3.0, each class a noun.

The definition of each hyponym, without its examples, was encoded by a MiniLM sentence encoder of 384 dimensions
(sentence-transformers/all-MiniLM-L6-v2). `docs/make_glosses.py` made the file from two packages and says the rest.
`glosses-license.txt` lies beside it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lossbench.datasets.cache import cached
from lossbench.datasets.dataset import Dataset, Request
from lossbench.datasets.splits import class_split

FILE = Path(__file__).with_name("glosses.npz")
PARTS = {"train": 846, "val": 282, "test": 282}  # classes: 60, 20 and 20 %


def load(request: Request) -> Dataset:
    """25,794 vectors of 128 dimensions with the word that each defines."""
    return cached("glosses", Request(folder=request.folder), [FILE], decode)


def decode(request: Request) -> Dataset:
    """The file that lossbench ships: 8-bit steps as float32."""
    with np.load(FILE, allow_pickle=False) as stored:
        return Dataset(
            features=stored["features"] * stored["step"],
            labels=stored["labels"].astype(np.int64),
            class_names=tuple(str(name) for name in stored["class_names"]),
            ids=stored["words"],
            class_split=class_split(sum(PARTS.values()), **PARTS),
            val_is_made=True,
        )

"""DeepFashion In-shop Clothes Retrieval: 52,712 photographs of 7,982 clothes (Liu et al. 2016)."""

from __future__ import annotations

from collections.abc import Iterator

from lossbench.datasets.dataset import BOTH, GALLERY, QUERY, DataError, Dataset, Request
from lossbench.datasets.layouts import Sample, assembled, checked, top
from lossbench.datasets.lists import table

LIST = "Eval/list_eval_partition.txt"
ROLES = {"train": BOTH, "query": QUERY, "gallery": GALLERY}


def load(request: Request) -> Dataset:
    """Whole pictures; the owner's queries and gallery are the test."""
    return checked("inshop", request, list(listed(request)), decode, lists=(LIST,))


def decode(request: Request) -> Dataset:
    """The pictures of `listed`."""
    return assembled("inshop", request, list(listed(request)))


def listed(request: Request) -> Iterator[Sample]:
    """Every row of the list below its count and its heading: image_name, item_id, evaluation_status."""
    root = top("inshop", request)
    pictures = root / "Img" if (root / "Img").is_dir() else root
    for row, (path, item, status) in enumerate(table(root / LIST, 3, heading=2), start=3):
        if status not in ROLES:
            raise DataError(f"{root / LIST}:{row}: {status!r} is none of {', '.join(ROLES)}")
        yield Sample(file=pictures / path, label=item, test=status != "train", role=ROLES[status])

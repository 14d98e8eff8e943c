"""Stanford Online Products: 120,053 photographs of 22,634 products (Song et al. 2016, arXiv:1511.06452)."""

from __future__ import annotations

from collections.abc import Iterator

from lossbench.datasets.dataset import Dataset, Request
from lossbench.datasets.layouts import Sample, assembled, checked, top
from lossbench.datasets.lists import table

LISTS = {"Ebay_train.txt": False, "Ebay_test.txt": True}


def load(request: Request) -> Dataset:
    """Whole pictures, train and test as the owner's two lists have them."""
    return checked("sop", request, list(listed(request)), decode, lists=tuple(LISTS))


def decode(request: Request) -> Dataset:
    """The pictures of `listed`."""
    return assembled("sop", request, list(listed(request)))


def listed(request: Request) -> Iterator[Sample]:
    """Every row of the two lists below their heading: image_id, class_id, super_class_id, path."""
    root = top("sop", request)
    for name, test in LISTS.items():
        for _, product, _, path in table(root / name, 4, heading=1):
            yield Sample(file=root / path, label=product.zfill(5), test=test)

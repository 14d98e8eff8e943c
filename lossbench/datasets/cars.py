"""Cars196: 16,185 photographs of 196 models of cars (Krause et al. 2013)."""

from __future__ import annotations

from collections.abc import Iterator

from lossbench.datasets.dataset import DataError, Dataset, Request
from lossbench.datasets.layouts import Sample, assembled, checked, top

TRAINED = 98  # the first half of the classes, as Song et al. 2016 (arXiv:1511.06452) split it


def load(request: Request) -> Dataset:
    """Whole pictures, the first 98 models to train and the others to test."""
    return checked("cars196", request, list(listed(request)), decode, lists=("cars_annos.mat",))


def decode(request: Request) -> Dataset:
    """The pictures of `listed`."""
    return assembled("cars196", request, list(listed(request)))


def listed(request: Request) -> Iterator[Sample]:
    """Every row of cars_annos.mat: path and class of a picture."""
    from scipy.io import loadmat

    root = top("cars196", request)
    try:
        content = loadmat(root / "cars_annos.mat", squeeze_me=True)
        names = [str(name) for name in content["class_names"]]
        rows = [(str(row["relative_im_path"]), int(row["class"])) for row in content["annotations"]]
        labels = [f"{number:03d} {names[number - 1]}" for _, number in rows]
    except (ValueError, LookupError, TypeError, NotImplementedError) as error:
        raise DataError(f"cars196: cars_annos.mat is not the owner's ({error}); fetch it again") from error
    for (path, number), label in zip(rows, labels, strict=True):
        yield Sample(file=root / path, label=label, test=number > TRAINED)

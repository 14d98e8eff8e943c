"""Layouts of owners in miniature: ten classes of four pictures to train, ten to test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dataset_files import encoded, noise
from scipy.io import savemat

from lossbench.datasets.layouts import LAYOUTS

COUNTS = {"training images": 40, "training classes": 10, "test images": 40, "test classes": 10}
MINIATURES = {
    "cub200": COUNTS,
    "cars196": COUNTS,
    "sop": COUNTS,
    "inshop": COUNTS | {"queries": 20, "gallery images": 20},
    "market1501": COUNTS | {"test images": 43, "queries": 20, "gallery images": 23},  # three distractors
}


def expect_miniatures(patch: pytest.MonkeyPatch) -> None:
    """Let the counts of miniatures stand for those that the owners publish."""
    for name, counts in MINIATURES.items():
        patch.setitem(LAYOUTS, name, replace(LAYOUTS[name], counts=counts))


def write(name: str, folder: Path) -> None:
    """Write the miniature of a data set into FOLDER/NAME."""
    writers = {
        "cub200": _cub200,
        "cars196": _cars196,
        "sop": _sop,
        "inshop": _inshop,
        "market1501": _market1501,
    }
    (folder / name).mkdir(parents=True, exist_ok=True)
    writers[name](folder / name)


def _picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(noise(seed, 12, 12, 3), "JPEG"))


def _cub200(folder: Path) -> None:
    top, images, labels = folder / "CUB_200_2011", [], []
    for label in (*range(91, 101), *range(101, 111)):
        for number in range(4):
            path = f"{label:03d}.Bird_{label}/Bird_{number}.jpg"
            _picture(top / "images" / path, 10 * label + number)
            images.append(f"{len(images) + 1} {path}")
            labels.append(f"{len(labels) + 1} {label}")
    (top / "images.txt").write_text("\n".join(images))
    (top / "image_class_labels.txt").write_text("\n".join(labels))
    (top / "classes.txt").write_text("\n".join(f"{label} {label:03d}.Bird_{label}" for label in range(1, 201)))
    (top / "train_test_split.txt").write_text("1 1")


def _cars196(folder: Path) -> None:
    rows = [(label, number) for label in (*range(89, 99), *range(99, 109)) for number in range(4)]
    kinds = [("relative_im_path", object), ("class", np.uint8), ("test", np.uint8)]
    annotations = np.array([(f"car_ims/{row:06d}.jpg", label, 0) for row, (label, _) in enumerate(rows)], dtype=kinds)
    names = np.array([f"Car {label}" for label in range(1, 197)], dtype=object)
    for row in range(len(rows)):
        _picture(folder / "car_ims" / f"{row:06d}.jpg", row)
    savemat(folder / "cars_annos.mat", {"annotations": annotations[None], "class_names": names[None]})


def _sop(folder: Path) -> None:
    for number, name in enumerate(("train", "test")):
        lines = ["image_id class_id super_class_id path"]
        for row in range(40):
            path = f"bicycle_final/{number}_{row}.JPG"
            _picture(folder / "Stanford_Online_Products" / path, 100 * number + row)
            lines.append(f"{row + 1} {10 * number + row // 4 + 1} 1 {path}")
        (folder / "Stanford_Online_Products" / f"Ebay_{name}.txt").write_text("\n".join(lines))


def _inshop(folder: Path) -> None:
    rows = []
    for item in range(20):
        for number in range(4):
            status = "train" if item < 10 else ("query", "gallery")[number % 2]
            path = f"img/WOMEN/Dresses/id_{item:08d}/{number:02d}_1_front.jpg"
            _picture(folder / "Img" / path, 10 * item + number)
            rows.append(f"{path}    id_{item:08d} {status}")
    (folder / "Eval").mkdir(exist_ok=True)
    heading = [str(len(rows)), "image_name item_id evaluation_status"]
    (folder / "Eval" / "list_eval_partition.txt").write_text("\n".join(heading + rows))


def _market1501(folder: Path) -> None:
    top = folder / "Market-1501-v15.09.15"
    for person in range(1, 21):
        for camera in range(1, 5):
            part = "bounding_box_train" if person <= 10 else ("query", "bounding_box_test")[camera % 2]
            _picture(top / part / f"{person:04d}_c{camera}s1_{camera:06d}_00.jpg", 10 * person + camera)
    for number, name in enumerate(("0000_c1s1_000001_01", "0000_c2s1_000001_01", "0000_c3s1_000001_01")):
        _picture(top / "bounding_box_test" / f"{name}.jpg", 900 + number)
    for number, name in enumerate(("-1_c1s1_000001_01", "-1_c6s2_000001_01")):
        _picture(top / "bounding_box_test" / f"{name}.jpg", 990 + number)
    (top / "bounding_box_test" / "Thumbs.db").write_bytes(b"")

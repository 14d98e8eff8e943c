from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lossbench.datasets import load
from lossbench.datasets.dataset import TEST, TRAIN, VAL
from lossbench.datasets.glyphs import FACES, SCRIPTS, font_files


@pytest.fixture(scope="module")
def glyphs(small):
    return small("glyphs")


def test_size_of_the_set(glyphs):
    assert glyphs.images.shape[1:] == (28, 28)
    assert 1200 <= glyphs.num_classes <= 1280
    counts = np.bincount(glyphs.labels)
    assert counts.min() == 12
    assert counts.max() == len(FACES) == len(font_files()) == 16


def test_learn_on_latin_test_on_greek(glyphs):
    for name, part in zip(glyphs.class_names, glyphs.class_split, strict=True):
        assert SCRIPTS[name.split()[0]] == part
    assert np.bincount(glyphs.class_split).tolist() == [
        sum(name.startswith("LATIN") for name in glyphs.class_names),
        sum(name.startswith(("CYRILLIC", "ARMENIAN", "GEORGIAN")) for name in glyphs.class_names),
        sum(name.startswith("GREEK") for name in glyphs.class_names),
    ]
    assert min(np.bincount(glyphs.class_split)) > 200
    assert (TRAIN, VAL, TEST) == (0, 1, 2)


def test_letters_that_render_alike_belong_to_the_first_script(glyphs):
    names = set(glyphs.class_names)
    assert "LATIN CAPITAL LETTER A" in names
    assert "CYRILLIC CAPITAL LETTER A" not in names
    assert "GREEK CAPITAL LETTER ALPHA" not in names
    assert "GREEK CAPITAL LETTER UPSILON" not in names  # STIX draws it with hooks, DejaVu like a Y
    assert "GREEK SMALL LETTER OMEGA" in names


def test_upper_and_lower_case_differ_where_they_look_different(glyphs):
    names = glyphs.class_names
    for letter in "COSVWXZ":  # the same shape in two sizes
        for case in ("CAPITAL", "SMALL"):
            assert f"LATIN {case} LETTER {letter}" in names


def test_no_picture_of_a_letter_is_a_picture_of_another_one(glyphs):
    def looks(part):
        return {image.tobytes() for image in glyphs.images[glyphs.class_split[glyphs.labels] == part]}

    assert not looks(TEST) & looks(TRAIN)
    assert not looks(TEST) & looks(VAL)


def test_letters_are_inside_the_picture_centered_and_not_blank(glyphs):
    images = np.asarray(glyphs.images)
    border = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1)
    assert border.max() == 0
    for axis in (1, 2):
        ink = images.max(axis=axis) > 0
        assert ink.any(axis=1).all()
        first, last = ink.argmax(axis=1), 27 - ink[:, ::-1].argmax(axis=1)
        assert np.abs(first + last - 27).max() <= 1


def test_raw_pixels_find_greek_letters_as_often_as_defined(glyphs):
    test = glyphs.class_split[glyphs.labels] == TEST
    images = np.asarray(glyphs.images)[test].reshape(test.sum(), -1).astype(np.float32)
    labels = glyphs.labels[test]
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    cosine = images @ images.T
    np.fill_diagonal(cosine, -2)
    nearest = np.argsort(-cosine, axis=1)[:, :15]
    relevant = labels[nearest] == labels[:, None]
    found = np.cumsum(relevant, axis=1) / np.arange(1, 16)
    others = np.bincount(labels)[labels] - 1
    within = np.arange(15) < others[:, None]
    assert np.mean((found * relevant * within).sum(axis=1) / others) == pytest.approx(0.173, abs=0.003)


@pytest.mark.slow
def test_another_size_draws_the_same_letters(glyphs):
    large = load("glyphs", 56)
    assert large.class_names == glyphs.class_names
    assert np.array_equal(large.labels, glyphs.labels)
    halves = np.stack([np.asarray(Image.fromarray(image).reduce(2)) for image in large.images[:200]])
    assert np.abs(halves.astype(int) - glyphs.images[:200]).max() <= 1

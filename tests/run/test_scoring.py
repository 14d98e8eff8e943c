"""Embeddings from elsewhere: what cannot be compared is refused, with the file's name."""

from __future__ import annotations

import numpy as np
import pytest

from lossbench.run.scoring import score_file, store_scores


def write(path, embeddings, labels):
    np.savez(path, embeddings=embeddings, labels=labels)
    return path


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 20)
    return rng.normal(size=(120, 4)) + 3 * rng.normal(size=(6, 4))[labels], labels


def test_files_of_one_seed_with_other_labels_are_refused_by_both_names(tmp_path, sample):
    points, labels = sample
    one, other = write(tmp_path / "one.npz", points, labels), write(tmp_path / "other.npz", points, labels[::-1])
    with pytest.raises(ValueError, match=r"other\.npz: its labels are not those of .*one\.npz"):
        store_scores([one, other], tmp_path / "runs")
    again = write(tmp_path / "other.2.npz", points, labels[::-1])
    assert store_scores([one, again], tmp_path / "more") == "scores", "files of two seeds are not paired"


def test_a_value_that_is_not_finite_names_its_file_and_row(tmp_path, sample):
    points, labels = sample
    points[7, 1] = np.nan
    path = write(tmp_path / "broken.npz", points, labels)
    with pytest.raises(ValueError, match=r"broken\.npz: embeddings: row 7 is not finite"):
        score_file(path)


def test_a_score_has_class_averages_and_few_shot_figures(tmp_path, sample):
    points, labels = sample
    shown = {
        line.split()[0]: line.split()[1:]
        for line in score_file(write(tmp_path / "a.npz", points, labels)).splitlines()[1:]
    }
    assert {
        "map_at_r_by_class",
        "precision_at_1_by_class",
        "few_shot_5way_1shot",
        "few_shot_5way_5shot",
    } <= shown.keys()
    assert float(shown["few_shot_5way_5shot"][0]) > 0.6
    assert shown["map_at_r_by_class"] == shown["map_at_r"], "classes of one size count alike anyway"

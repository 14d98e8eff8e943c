"""Embeddings from elsewhere: what cannot be compared is refused, with the file's name."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from gallery_loops import FIGURES, by_loops

from lossbench.run.scoring import score_against, score_file, store_scores


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


# queries and a gallery


def figures(table: str) -> dict[str, float]:
    """The figures of the raw space."""
    return {line.split()[0]: float(line.split()[1]) for line in table.splitlines()[1:]}


@pytest.fixture
def seen(sample):
    """Samples with roles and cameras: every fifth asks, every seventh is a distractor, every eleventh junk."""
    points, labels = sample
    rows = np.arange(len(labels))
    role = np.where(rows % 5 == 0, "query", "gallery").astype("<U10")
    role[rows % 7 == 0] = "distractor"
    role[rows % 11 == 0] = "junk"
    return points, labels, role, rows % 3


def expected(points, labels, role, group) -> dict[str, float]:
    asks, stands = role == "query", np.isin(role, ("gallery", "distractor"))
    known = np.where(role == "distractor", -1, labels)
    found = by_loops(points[asks], known[asks], points[stands], known[stands], group[asks], group[stands])
    assert found is not None
    return found


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_a_narrow_cone_has_on_the_sphere_the_order_of_its_angles(tmp_path, kind):
    """By exact fractions of the values as they are stored, a spread of some last digits around one direction."""
    rng = np.random.default_rng(3)
    points, labels = (1 + 2 * np.finfo(kind).eps * rng.integers(0, 12, (24, 3))).astype(kind), np.arange(24) % 4
    exact = [[Fraction(float(value)) for value in row] for row in points]

    def cosine(i: int, j: int) -> Fraction:  # its square, of vectors that all point the same way
        dot = sum(a * b for a, b in zip(exact[i], exact[j], strict=True))
        return dot**2 / (sum(a * a for a in exact[i]) * sum(b * b for b in exact[j]))

    averages = []
    for i in range(24):
        others = sorted((j for j in range(24) if j != i), key=lambda j: (-cosine(i, j), labels[j] == labels[i]))
        match = [labels[j] == labels[i] for j in others[:5]]
        averages.append(sum(sum(match[: r + 1]) / (r + 1) for r in range(5) if match[r]) / 5)
    found = score_file(write(tmp_path / "cone.npz", points, labels))
    (line,) = (line for line in found.splitlines() if line.startswith("map_at_r "))
    assert float(line.split()[2]) == pytest.approx(np.mean(averages), abs=1e-4)


def test_roles_and_groups_make_a_gallery(tmp_path, seen):
    points, labels, role, group = seen
    names = np.array(["ann", "bob", "cy", "di", "eve", "flo"])
    for number, (known, camera) in enumerate([(labels, group), (names[labels], np.array(["x", "y", "z"])[group])]):
        np.savez(tmp_path / f"{number}.npz", embeddings=points, labels=known, role=role, group=camera)
        found = figures(score_file(tmp_path / f"{number}.npz"))
        assert {name: found[name] for name in FIGURES} == pytest.approx(expected(*seen), abs=5e-5)
        assert "map_at_r_by_class" in found
        assert "cmc_at_1_by_class" in found
        assert not {"auc", "precision_at_1", "few_shot_5way_1shot"} & found.keys()


def test_a_file_of_queries_and_one_of_the_gallery_are_the_same(tmp_path, seen):
    points, labels, role, group = seen
    asks = role == "query"
    np.savez(tmp_path / "a.npz", embeddings=points[asks], labels=labels[asks], group=group[asks])
    np.savez(tmp_path / "b.npz", embeddings=points[~asks], labels=labels[~asks], group=group[~asks], role=role[~asks])
    found = figures(score_against(tmp_path / "a.npz", tmp_path / "b.npz"))
    assert {name: found[name] for name in FIGURES} == pytest.approx(expected(*seen), abs=5e-5)
    np.savez(tmp_path / "c.npz", embeddings=points[~asks], labels=labels[~asks])
    with pytest.raises(ValueError, match=r"a.npz, .*c.npz: group are not of one kind in both files"):
        score_against(tmp_path / "a.npz", tmp_path / "c.npz")
    np.savez(tmp_path / "d.npz", embeddings=points[~asks, :2], labels=labels[~asks], group=group[~asks])
    with pytest.raises(ValueError, match=r"d.npz: embeddings have not \(4,\) values as those of"):
        score_against(tmp_path / "a.npz", tmp_path / "d.npz")


def test_groups_alone_let_every_sample_ask(tmp_path, sample):
    points, labels = sample
    group = np.arange(len(labels)) % 3
    np.savez(tmp_path / "a.npz", embeddings=points, labels=labels, group=group)
    found = figures(score_file(tmp_path / "a.npz"))
    loops = by_loops(points, labels, points, labels, group, group, np.arange(len(labels)))
    assert {name: found[name] for name in FIGURES} == pytest.approx(loops, abs=5e-5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"role": np.array(["query", "galery"] * 60)},
            "row 1: role 'galery' is none of query, .*did you mean 'gallery'",
        ),
        ({"role": np.array(["gallery"] * 120)}, "role: there is no query"),
        ({"role": np.array(["query"] * 120)}, "role: there is no sample of the gallery"),
        ({"group": np.zeros(119)}, r"group: shape \(119,\) is not \(120,\)"),
        ({"group": np.zeros(120)}, "none of the 120 queries has a match in the gallery that is not of its own group"),
        ({"labels": np.array(3), "group": np.zeros(120)}, r"labels: shape \(\) is not \(120,\)"),
    ],
)
def test_roles_that_cannot_be_used_name_the_file(tmp_path, sample, changed, message):
    np.savez(tmp_path / "a.npz", **({"embeddings": sample[0], "labels": sample[1]} | changed))
    with pytest.raises(ValueError, match=rf"a\.npz: .*{message}"):
        score_file(tmp_path / "a.npz")


def test_files_of_one_seed_share_their_roles(tmp_path, sample):
    points, labels = sample
    group = np.arange(len(labels)) % 3
    np.savez(tmp_path / "a.npz", embeddings=points, labels=labels, group=group)
    np.savez(tmp_path / "b.npz", embeddings=points, labels=labels, group=group[::-1])
    with pytest.raises(ValueError, match=r"b\.npz: its groups are not those of .*a\.npz"):
        store_scores([tmp_path / "a.npz", tmp_path / "b.npz"], tmp_path / "runs")
    write(tmp_path / "c.2.npz", points, labels)
    with pytest.raises(ValueError, match="some files have role or group and others have neither"):
        store_scores([tmp_path / "a.npz", tmp_path / "c.2.npz"], tmp_path / "more")
    assert store_scores([tmp_path / "a.npz"], tmp_path / "alone") == "scores"

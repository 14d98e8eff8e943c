"""Who asks and who is asked: splits of a protocol with a gallery, and what distractors and junk do in the others."""

from __future__ import annotations

import dataset_files
import numpy as np
import pytest

from lossbench.datasets import DataError, Dataset, load
from lossbench.datasets.dataset import (
    BOTH,
    DISTRACTOR,
    GALLERY,
    JUNK,
    QUERY,
    TEST,
    TRAIN,
    VAL,
    checksum_under,
    with_checksum,
)
from lossbench.datasets.deals import leaves_free
from lossbench.datasets.roles import asks, matches, roles_of
from lossbench.datasets.splits import split
from lossbench.datasets.subset import validation_samples

CLASSES, EACH = 12, 4
TESTED = slice(8 * EACH, None)  # the last four classes


def people(**fields) -> Dataset:
    """Twelve people, two pictures by each of two cameras; the last four are tested on."""
    labels = np.repeat(np.arange(CLASSES), EACH)
    known = {
        "images": np.zeros((len(labels), 2, 2), dtype=np.uint8),
        "labels": labels,
        "class_names": tuple(f"person {number}" for number in range(CLASSES)),
        "class_split": np.repeat([TRAIN, VAL, TEST], [6, 2, 4]),
        "val_is_made": True,
        "groups": np.tile([0, 0, 1, 1], CLASSES),
        "name": "people",
    }
    return Dataset(**(known | fields))


def roles(**of_rows: int) -> np.ndarray:
    """BOTH, but for `r33=JUNK` and the like."""
    found = np.full(CLASSES * EACH, BOTH)
    for row, role in of_rows.items():
        found[int(row[1:])] = role
    return found


def test_distractors_stand_in_the_gallery_of_test_and_in_no_other_part():
    stray = [0, 25, 33]  # of a class that trains, validates, tests
    data = people(roles=roles(r0=DISTRACTOR, r25=DISTRACTOR, r33=DISTRACTOR))
    for deal in (None, 1, 2):
        parts = split(data, "query-gallery", deal=deal)
        assert set(stray) <= set(parts.test.tolist())
        assert not np.isin(stray, [*parts.train, *parts.val]).any()
        assert sorted([*parts.train, *parts.val, *parts.test]) == list(range(CLASSES * EACH))
        other = split(data, "open-set", deal=deal)
        assert not np.isin(stray, [*other.train, *other.val, *other.test]).any()
        assert np.array_equal(other.train, parts.train)
        assert np.array_equal(other.val, parts.val)


def test_a_class_of_distractors_is_none_that_a_deal_could_choose():
    labels = np.append(np.repeat(np.arange(CLASSES), EACH), [CLASSES] * 3)
    data = Dataset(
        images=np.zeros((len(labels), 2, 2), dtype=np.uint8),
        labels=labels,
        class_names=tuple(map(str, range(CLASSES + 1))),
        roles=np.append(roles(), [DISTRACTOR] * 3),
    )
    for deal in (None, *range(10)):
        parts = split(data, "query-gallery", deal=deal)
        assert [len(np.unique(labels[part])) for part in (parts.train, parts.val)] == [5, 2]
        assert set(np.flatnonzero(labels == CLASSES)) <= set(parts.test)


def test_distractors_of_ones_own_split_stay_in_their_part():
    own = np.repeat([TRAIN, VAL, TEST], [6 * EACH, 2 * EACH, 4 * EACH])
    data = people(fixed_split=own, roles=roles(r0=DISTRACTOR, r25=DISTRACTOR, r33=DISTRACTOR))
    parts = split(data, "query-gallery")
    assert [0 in part for part in (parts.train, parts.val, parts.test)] == [False, False, False]
    assert [25 in part for part in (parts.train, parts.val, parts.test)] == [False, True, False]
    assert [33 in part for part in (parts.train, parts.val, parts.test)] == [False, False, True]
    one = validation_samples(people(roles=data.roles), parts, 1)
    assert 25 in one
    assert len(one) in (EACH, EACH + 1)  # a class of three or four, and the distractor
    assert not np.isin([0, 25, 33], [*(alike := split(data, "open-set")).train, *alike.val, *alike.test]).any()


@pytest.mark.parametrize("protocol", ["open-set", "query-gallery", "closed-set"])
def test_junk_is_nowhere(protocol):
    parts = split(people(roles=roles(r0=JUNK, r25=JUNK, r33=JUNK)), protocol, deal=3)
    assert not np.isin([0, 25, 33], [*parts.train, *parts.val, *parts.test]).any()


def test_without_distractors_and_junk_parts_are_those_of_open_set():
    for deal in (None, 1, 2**40):
        one, other = (split(people(), protocol, deal=deal) for protocol in ("query-gallery", "open-set"))
        assert all(np.array_equal(getattr(one, part), getattr(other, part)) for part in ("train", "val", "test"))
    assert leaves_free(people(), "query-gallery", one)
    assert not leaves_free(people(val_is_made=False), "query-gallery", one)


def test_a_part_that_the_protocol_makes_has_both_roles_where_nobody_gave_any():
    given = roles()
    given[TESTED] = np.tile([QUERY, QUERY, GALLERY, GALLERY], 4)
    given[: 8 * EACH] = GALLERY  # of what trains nobody says more
    given[25] = DISTRACTOR
    data = people(roles=given)
    assert set(roles_of(data, np.arange(24, 32), made=True)) == {BOTH, DISTRACTOR}
    parts = split(data, "query-gallery")
    assert np.array_equal(roles_of(data, parts.test, made=False)[1:], given[TESTED])  # the first is the distractor
    own = people(roles=np.tile([QUERY, GALLERY, GALLERY, GALLERY], CLASSES))
    assert roles_of(own, np.arange(24, 28), made=True).tolist() == [QUERY, GALLERY, GALLERY, GALLERY]


def test_matches_are_of_the_class_of_another_group_and_not_oneself():
    data = people(groups=np.tile([0, 0, 1, -1], CLASSES), roles=roles(r33=QUERY, r36=DISTRACTOR))
    rows = np.arange(32, 40)
    # 32 asks as 33 does, which does not stand there; 35's group is not known, so only itself is left out.
    assert matches(data, rows, roles_of(data, rows, made=False)).tolist() == [2, 2, 2, 2, 2, 2, 2, 2]
    alone = people(groups=None)
    assert set(matches(alone, rows, roles_of(alone, rows, made=False))) == {3}


def test_a_test_in_which_no_query_has_a_match_is_refused():
    with pytest.raises(
        DataError, match="people: query-gallery: none of the 8 queries of val has a match in the gallery"
    ):
        split(people(groups=np.zeros(CLASSES * EACH, dtype=np.int64)), "query-gallery")
    given = roles()
    given[TESTED] = QUERY
    with pytest.raises(DataError, match="none of the 16 queries of test has a match"):
        split(people(roles=given), "query-gallery")
    given[TESTED] = GALLERY
    with pytest.raises(DataError, match="none of the 0 queries of test has a match"):
        split(people(roles=given), "query-gallery")
    split(people(roles=given), "open-set")


def test_queries_without_a_match_are_counted():
    groups = np.tile([0, 0, 1, 1], CLASSES)
    groups[-EACH:] = 0
    (note,) = split(people(groups=groups), "query-gallery").notes
    assert note == "query-gallery: 4 of 16 queries of test have no match in the gallery; they are not counted"


def test_groups_are_part_of_what_a_gallery_is_searched_by_and_of_nothing_else():
    plain, other = with_checksum(people()), with_checksum(people(groups=np.arange(CLASSES * EACH) % 2))
    assert plain.checksum == other.checksum == with_checksum(people(groups=None)).checksum
    assert checksum_under(plain, "open-set") == plain.checksum
    found = {checksum_under(each, "query-gallery") for each in (plain, other, with_checksum(people(groups=None)))}
    assert len(found) == 3
    assert with_checksum(people(roles=roles())).checksum != plain.checksum


# files


def test_a_folder_of_queries_and_a_gallery(tmp_path):
    for part, names in {"train": "abcdef", "query": "xyz", "gallery": "wxyz"}.items():
        for name in names:
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(4):
                pixels = dataset_files.noise(len(part) * 100 + ord(name) * 10 + number, 12, 12)
                (tmp_path / part / name / f"{number}.png").write_bytes(dataset_files.encoded(pixels))
    data = load(f"folder:{tmp_path}")
    parts = split(data, "query-gallery")
    assert sorted({data.class_names[label] for label in data.labels[parts.test]}) == list("wxyz")
    assert {data.class_names[label] for label in data.labels[[*parts.train, *parts.val]]} == set("abcdef")
    given = roles_of(data, parts.test, made=False)
    assert [int((given == role).sum()) for role in (QUERY, GALLERY)] == [12, 16]
    assert set(data.roles[parts.train]) == {BOTH}
    first = parts.test[asks(given)][0]
    assert np.array_equal(data.images[first], dataset_files.noise(500 + ord("x") * 10, 12, 12))
    assert len(split(data, "open-set").test) == 28


def test_a_folder_without_queries_has_no_roles(tmp_path):
    for part in ("train", "test"):
        for name in "ab":
            (tmp_path / part / name).mkdir(parents=True)
            (tmp_path / part / name / "1.png").write_bytes(dataset_files.encoded(dataset_files.noise(1, 12, 12)))
    assert load(f"folder:{tmp_path}").roles is None


def test_a_group_that_is_not_named_is_not_known(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        features=np.eye(4, dtype=np.float32),
        labels=[0, 0, 1, 1],
        group=np.array([2.0, np.nan, -1.0, 1.0]),
    )
    assert load(f"features:{tmp_path / 'a.npz'}").groups.tolist() == [1, -1, -1, 0]


def test_glyphs_are_seen_by_families_of_typefaces():
    data = load("glyphs")
    assert np.bincount(data.groups, minlength=4).min() > 0
    assert sorted(set(data.groups.tolist())) == [0, 1, 2, 3]
    one = np.flatnonzero(data.labels == 0)
    assert data.groups[one].tolist() == sorted(data.groups[one].tolist())  # faces in their order
    parts = split(data, "query-gallery")
    found = matches(data, parts.test, roles_of(data, parts.test, made=False))
    sizes = np.bincount(data.labels)[data.labels[parts.test]]
    cells = np.bincount(data.labels * 4 + data.groups)[(data.labels * 4 + data.groups)[parts.test]]
    assert np.array_equal(found, sizes - cells)
    assert found.min() >= 8

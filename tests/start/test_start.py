"""Data as people have them: what `lossbench start` says of them, and that the file it writes runs as it is."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lossbench import load_results
from lossbench.cli import main
from lossbench.start import looking, writing
from lossbench.start.looking import Shapes

RNG = np.random.default_rng(0)
SMALL = (
    "training.epochs=1", "budget.studies=1", "budget.trials=1", "budget.seeds=1", 'recipes=["softmax", "contrastive"]',
    "embedding_dim=8", "training.batch_size=8",
)  # fmt: skip


def picture(path: Path, width: int, height: int, *, color: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 255, (height, width, 3) if color else (height, width), dtype=np.uint8)).save(path)


def people(root: Path) -> str:
    for row in range(400):
        picture(root / "people" / f"p{row // 10:02d}" / f"{row % 10}.jpg", 66, 80)
    return "people"


def pairs(root: Path) -> str:
    for row in range(600):
        picture(root / "pairs" / f"c{row // 2:03d}" / f"{row % 2}.png", 16, 16, color=False)
    return "pairs"


def photographs(root: Path) -> str:
    for row in range(48):
        size = (400, 300) if row % 2 else (300, 400)
        picture(root / "my photos" / f"c{row // 8}" / f"{row % 8}.jpg", *size)
    (root / "my photos" / "c0" / "broken.jpg").write_bytes(b"no picture")
    (root / "my photos" / "c1" / "film.mov").write_bytes(b"no picture")
    return "my photos"


def voices(root: Path) -> str:
    labels = np.repeat(np.arange(30), 8)
    points = RNG.normal(size=(30, 12))[labels] + RNG.normal(size=(240, 12))
    np.savez(root / "voices.npz", features=points.astype(np.float32), labels=labels, group=labels % 3)
    return "voices.npz"


def rows(root: Path) -> str:
    lines = ["path,label,split"]
    for row in range(120):
        picture(root / "rows" / f"{row}.png", 40, 100)
        lines.append(f"rows/{row}.png,{row // 12},{'train' if row % 3 else 'test'}")
    (root / "rows.csv").write_text("\n".join(lines))
    return "rows.csv"


def gallery(root: Path) -> str:
    for person in range(24):
        for number in range(6):
            part = "train" if person < 16 else "query" if number < 2 else "gallery"
            picture(root / "people" / part / f"p{person:02d}" / f"{number}.png", 32, 64)
    return "people"


MADE = {
    "gallery": gallery,
    "people": people,
    "pairs": pairs,
    "photographs": photographs,
    "voices": voices,
    "rows": rows,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`made(kind)`: the folder of a kind of data, what `start` printed there, and the file that it wrote."""
    there = {}

    def of(kind: str) -> tuple[Path, str, Path]:
        if kind not in there:
            root = tmp_path_factory.mktemp(kind)
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(root)
                patch.setenv("LOSSBENCH_CACHE", str(root / "cache"))
                done = CliRunner().invoke(main, ["start", MADE[kind](root)])
                assert done.exit_code == 0, done.output
            (file,) = root.glob("*.toml")
            there[kind] = root, done.output, file
        return there[kind]

    return of


def document(file: Path) -> tuple[dict, dict]:
    """The content of an experiment file, and its one task."""
    content = tomllib.loads(file.read_text("utf-8"))
    (task,) = content["tasks"]
    return content, task


def test_people(made):
    _, said, file = made("people")
    content, task = document(file)
    assert said.startswith("folder:people: 400 pictures of 40 classes (p00, p01, p02 and 37 more)\n")
    assert "  10 of every class\n" in said
    assert "  pictures: 66 x 80 pixels, in color, photographs\n" in said
    assert "  closed-set: 240, 80 and 80 pictures of 40, 40 and 40 classes to train, validate and test\n" in said
    assert "  open-set: 160, 80 and 160 pictures of 16, 8 and 16 classes to train, validate and test\n" in said
    assert task == {"dataset": "folder:people", "protocol": "open-set", "input_size": 64, "fit": "crop"}
    assert (content["backbone"], content["training"]["batch_size"]) == ("convnet4", 64)
    assert content["training"]["augment"] == ["flip", "crop", "color"]
    assert content["training"]["epochs"] == "auto"
    assert content["question"].endswith("?")
    assert "claims" not in content


def test_two_of_a_class(made):
    _, said, file = made("pairs")
    content, task = document(file)
    assert "closed-set: no. no class has two samples in val" in said
    assert task == {"dataset": "folder:pairs", "protocol": "open-set"}  # small squares of one size stay as they are
    assert content["backbone"] == "convnet"
    assert content["training"]["samples_per_class"] == 2
    assert "augment" not in content["training"]  # a mirrored letter is another one
    assert "# augment = " in file.read_text()


def test_few_large_photographs(made):
    _, said, file = made("photographs")
    content, task = document(file)
    assert file.name == "my-photos.toml"
    assert said.startswith("folder:my photos: 48 pictures of 6 classes")
    assert "  pictures: 300 x 400 to 400 x 300 pixels, in color, photographs\n" in said
    assert "  1 file left out (damaged, or not what its name says): c0/broken.jpg\n" in said
    assert "  1 file left out (not a picture): c1/film.mov\n" in said
    assert "open-set: no. 1 classes in val" in said
    assert task == {"dataset": "folder:my photos", "protocol": "closed-set", "input_size": 64, "fit": "crop"}
    assert (content["training"]["batch_size"], content["training"]["samples_per_class"]) == (8, 4)
    assert "24 training, 12 validation and 12 test images of 6, 6 and 6 classes" in said
    assert "their middle square at 64 x 64 pixels" in said


def test_vectors(made):
    _, said, file = made("voices")
    content, task = document(file)
    assert "  vectors: 12 values, float32\n" in said
    assert "  groups, such as cameras: 3\n" in said
    assert task == {"dataset": "features:voices.npz", "protocol": "open-set"}
    assert (content["backbone"], content["embedding_dim"]) == ("residual", 12)
    assert content["baselines"] == ["untrained", "features", "pca", "lda"]
    assert "test vectors of 12, 6 and 12 classes" in said


def test_a_split_of_ones_own_decides_the_question(made):
    _, said, file = made("rows")
    _, task = document(file)
    assert "  a split of your own, which is used as it is\n" in said
    assert "open-set: no. 10 classes" in said
    assert task == {"dataset": "csv:rows.csv", "protocol": "closed-set", "input_size": 32, "fit": "stretch"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", MADE)
def test_the_file_runs_as_it_is(made, kind, monkeypatch):
    root, _, file = made(kind)
    monkeypatch.chdir(root)
    monkeypatch.setenv("LOSSBENCH_CACHE", str(root / "cache"))
    plan = CliRunner().invoke(main, ["run", file.name, "--dry-run"])
    assert plan.exit_code == 0, plan.output
    settings = [part for each in SMALL for part in ("--set", each)]
    done = CliRunner().invoke(main, ["run", file.name, "--workers", "0", *settings])
    assert done.exit_code == 0, done.output
    figures = load_results(root / "runs")
    assert "failed" not in set(figures["status"])
    assert (root / "reports" / file.stem / "index.html").is_file()


def test_queries_and_a_gallery(made):
    _, said, file = made("gallery")
    content, task = document(file)
    assert "  roles: 16 query, 32 gallery, 96 both\n" in said
    assert "closed-set: no. 8 classes" in said
    assert "query-gallery: 66, 30 and 48 pictures of 11, 5 and 8 classes to train, validate and test" in said
    assert task == {"dataset": "folder:people", "protocol": "query-gallery", "input_size": 32, "fit": "stretch"}
    assert "gallery" in content["question"]


def test_of_queries_and_a_gallery_alone_some_classes_train(tmp_path):
    for row in range(80):
        picture(tmp_path / ("query" if row % 4 else "gallery") / f"p{row // 8}" / f"{row}.png", 32, 32)
    found = looking.look(str(tmp_path))
    assert found.data.fixed_split is None
    assert writing.choices(found).protocol == "query-gallery"
    assert [len(part) for part in (found.parts["query-gallery"].train, found.parts["query-gallery"].test)] == [32, 32]


def test_nothing_is_written_over_and_nothing_stays_of_what_cannot_be_used(made, tmp_path, monkeypatch):
    root, _, file = made("voices")
    monkeypatch.chdir(root)
    before = file.read_text()
    done = CliRunner().invoke(main, ["start", "voices.npz"])
    assert (done.exit_code, done.output) == (
        2,
        "lossbench: error: voices.toml: is there already; give another --name\n",
    )
    assert file.read_text() == before
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "one.npz", features=np.eye(4, dtype=np.float32), labels=np.arange(4))
    for given, said in (("one.npz", "no class"), ("nowhere", "nowhere: is no folder of pictures")):
        done = CliRunner().invoke(main, ["start", given])
        assert (done.exit_code, len(done.output.splitlines())) == (2, 1)
        assert said in done.output
    assert not list(tmp_path.glob("*.toml"))


@pytest.mark.parametrize(
    ("edges", "fit"),
    [
        ([(400, 300), (300, 400)], "crop"),
        ([(64, 128), (62, 128)], "stretch"),  # boxes of people
        ([(64, 128), (300, 100), (80, 200)], "pad"),
    ],
)
def test_what_the_middle_square_would_lose_is_kept(edges, fit):
    assert looking._fit(Shapes(len(edges), np.array(edges), False, False)) == fit


@pytest.mark.parametrize(
    ("count", "edges", "size"),
    [
        (100, [(28, 28)] * 2, None),
        (100, [(28, 30)] * 2, 32),
        (100, [(4000, 3000), (200, 100)], 64),
        (30_000, [(4000, 3000), (200, 100)], 32),
    ],
)
def test_size_of_the_input(count, edges, size):
    assert looking._size(Shapes(count, np.array(edges), True, True)) == size


def test_names_are_those_that_an_experiment_may_have():
    assert writing.name_for("pictures/My people.v2") == "My-people.v2"
    assert writing.name_for("a/voices.parquet") == "voices"
    assert writing.name_for("folder:a/b/") == "b"
    assert writing.name_for("a/***") == "mine"


def test_a_batch_leaves_two_steps_to_an_epoch():
    assert [writing._batch(size, 64) for size in (4, 15, 24, 127, 128, 9000)] == [4, 4, 8, 32, 64, 64]

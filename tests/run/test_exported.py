"""An exported network embeds as its run did: arrays, pictures and vectors, bit for bit, wherever it is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import lossbench
from experiments import sweep, tiny_plan
from lossbench import datasets
from lossbench.datasets import DataError
from lossbench.datasets.splits import split
from lossbench.plugins import registry
from lossbench.report.exporting import export
from lossbench.run.evaluation import CHUNK
from lossbench.run.exported import TORCHSCRIPT, ExportedModel, load_exported, write_torchscript
from lossbench.store import StoreError

SMALL = ("training.epochs=1", "budget.trials=1", "budget.seeds=1", 'recipes=["softmax"]', "baselines=[]")
OWN_BACKBONE = """
from torch import nn
from lossbench import backbone

@backbone("flat-{name}")
def flat(problem):
    \"\"\"One layer.\"\"\"
    c, h, w = problem.image_shape
    return nn.Sequential(nn.Flatten(), nn.Linear(c * h * w, problem.embedding_dim))
"""


def exported(root: Path, *overrides: str, plugins: tuple[Path, ...] = ()) -> Path:
    """The folder of a small experiment's only recipe."""
    sweep(tiny_plan(*SMALL, *overrides, plugins=plugins), root / "runs")
    (written,) = export("ablation", root / "runs", root / "exports", recipe="softmax")
    assert written.has_network
    return written.folder


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def stored(folder: Path) -> np.ndarray:
    with np.load(folder / "embeddings.npz") as arrays:
        return arrays["embeddings"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    return exported(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def test_images() -> np.ndarray:
    data = datasets.load("digits")
    return np.array(data.images[split(data, "closed-set").test])


def test_the_embeddings_of_the_run_come_out_bit_for_bit(digits, test_images):
    model = lossbench.load_exported(digits)
    assert repr(model) == "ExportedModel(ConvNet: 1 x 8 x 8 to 4)"
    for samples in (test_images, torch.tensor(test_images)[:, None]):
        assert model.embed(samples).tobytes() == stored(digits).tobytes()


@pytest.mark.slow
def test_a_neck_goes_along_and_groups_are_no_other_data(tmp_path):
    task = 'tasks=[{dataset="glyphs", protocol="query-gallery", input_size=12, train_classes=20, val_classes=10}]'
    folder = exported(tmp_path, task, "neck=batchnorm")
    data = datasets.load("glyphs", 12)
    images = data.images[split(data, "query-gallery").test]
    assert load_exported(folder).embed(images).tobytes() == stored(folder).tobytes()


@pytest.mark.slow
def test_more_than_one_block_is_cut_as_the_evaluation_cuts(tmp_path):
    folder = exported(tmp_path, 'tasks=[{dataset="glyphs", protocol="open-set", input_size=12, train_classes=20}]')
    data = datasets.load("glyphs", 12)
    images = data.images[split(data, "open-set").test]
    assert len(images) > CHUNK
    assert load_exported(folder).embed(images).tobytes() == stored(folder).tobytes()


def test_vectors_are_embedded_as_they_came(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "v.npz", features=rng.normal(size=(200, 6)).astype("f2"), labels=np.arange(200) % 4)
    task = f'tasks=[{{dataset="features:{tmp_path / "v.npz"}", protocol="closed-set"}}]'
    folder = exported(tmp_path, task, "backbone=mlp")
    data = datasets.load(f"features:{tmp_path / 'v.npz'}")
    model = load_exported(folder)
    assert np.array_equal(model.embed(data.features[split(data, "closed-set").test]), stored(folder))
    with pytest.raises(DataError, match=r"samples are float32 \(2, 5\), not floating vectors \(N, 6\)"):
        model.embed(np.zeros((2, 5), "f4"))
    assert "takes vectors" in write_torchscript(folder)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_pictures_of_any_size_are_read_as_the_folder_was(tmp_path, fit):
    rng = np.random.default_rng(0)
    for label in range(3):
        for number in range(40):
            base = rng.integers(0, 256, (9 + number % 3, 12, 3), dtype=np.uint8)
            save(tmp_path / "pictures" / f"c{label}" / f"{number:02}.png", base)
    where = f"folder:{tmp_path / 'pictures'}"
    folder = exported(tmp_path, f'tasks=[{{dataset="{where}", protocol="closed-set", input_size=8, fit="{fit}"}}]')
    paths = sorted((tmp_path / "pictures").rglob("*.png"))
    data = datasets.load(where, 8, fit)
    test = split(data, "closed-set").test
    model = load_exported(folder)
    assert np.array_equal(model.embed([paths[row] for row in test]), stored(folder))
    assert np.array_equal(model.embed(data.images[test]), stored(folder))
    column = pd.Series([str(paths[row]) for row in test])
    for several in (column, column.to_numpy(), np.array(column.tolist()), tuple(column)):
        assert np.array_equal(model.embed(several), stored(folder))
    assert model.embed(paths[0]).shape == (1, 4)


def test_a_grey_network_takes_color_pictures_and_the_ink_of_omniglot_is_turned(digits, test_images, tmp_path):
    model = load_exported(digits)
    save(tmp_path / "grey.png", test_images[0])
    save(tmp_path / "color.png", np.stack([test_images[0]] * 3, -1))
    save(tmp_path / "dark.png", 255 - test_images[0])
    expected = model.embed(test_images[:1])
    assert np.array_equal(model.embed(str(tmp_path / "grey.png")), expected)
    assert np.array_equal(model.embed([tmp_path / "color.png"]), expected)
    shutil.copytree(digits, tmp_path / "turned")
    described = json.loads((digits / "network.json").read_text())
    (tmp_path / "turned" / "network.json").write_text(json.dumps(described | {"inverted": True}))
    assert np.array_equal(load_exported(tmp_path / "turned").embed(tmp_path / "dark.png"), expected)


def test_what_the_network_cannot_take_is_said(digits, tmp_path):
    model = load_exported(digits)
    with pytest.raises(
        DataError, match=r"samples are uint8 \(2, 9, 9\), not uint8 images \(N, 8, 8\); pictures of any"
    ):
        model.embed(np.zeros((2, 9, 9), np.uint8))
    with pytest.raises(DataError, match="samples are generator, neither an array of numbers nor a list of paths"):
        model.embed(Path(name) for name in ("a.png", "b.png"))
    with pytest.raises(DataError, match="samples are float64"):
        model.embed(np.zeros((2, 8, 8)))
    (tmp_path / "no.png").write_text("no picture")
    with pytest.raises(DataError, match=r"no\.png: cannot be read: damaged"):
        model.embed([tmp_path / "no.png"])
    Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match="deeper than eight bits"):
        model.embed(tmp_path / "deep.png")
    with pytest.raises(DataError, match="no picture to embed"):
        model.embed([])
    with pytest.raises(StoreError, match="holds no exported network"):
        load_exported(tmp_path)


def test_the_process_is_left_as_it_was(digits, test_images):
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        torch.set_num_threads(2)
        torch.use_deterministic_algorithms(False)
        load_exported(digits).embed(test_images[:2])
        assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (2, False)
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1], warn_only=True)


def test_a_backbone_of_a_plugin_file_goes_along(tmp_path, monkeypatch):
    own = tmp_path / "own.py"
    own.write_text(OWN_BACKBONE.format(name="goes-along"))
    folder = exported(tmp_path, "backbone=flat-goes-along", plugins=(own,))
    assert (folder / "backbone.py").read_text() == own.read_text()
    assert isinstance(load_exported(folder), ExportedModel)
    others = {key: plugin for key, plugin in registry._plugins.items() if key[1] != "flat-goes-along"}
    monkeypatch.setattr(registry, "_plugins", others)  # as in a new process
    own.unlink()
    assert isinstance(load_exported(folder), ExportedModel)


def test_a_backbone_with_a_variant_is_built_as_it_was(tmp_path, monkeypatch):
    own = tmp_path / "own.py"
    text = OWN_BACKBONE.format(name="striding").replace('"flat-striding"', '"flat-striding", variants=True')
    own.write_text(text.replace("nn.Linear(c", "nn.Linear(int(problem.variant) * c"))
    folder = exported(tmp_path, "backbone=flat-striding:1", plugins=(own,))
    assert (folder / "backbone.py").is_file()
    monkeypatch.setattr(registry, "_plugins", {k: v for k, v in registry._plugins.items() if k[1] != "flat-striding"})
    assert load_exported(folder).embed(datasets.load("digits").images[:2]).shape == (2, 4)


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated")
def test_torchscript_embeds_alike_without_lossbench_and_is_left_out_where_it_would_not(
    digits, test_images, monkeypatch
):
    assert write_torchscript(digits).endswith("takes uint8 images")
    script = torch.jit.load(str(digits / TORCHSCRIPT))
    found = script(torch.tensor(test_images)[:, None]).numpy()
    np.testing.assert_allclose(found, stored(digits), rtol=1e-4, atol=1e-5)
    monkeypatch.setattr("lossbench.run.exported.to_input", lambda samples: samples * torch.rand(1) / len(samples))
    assert "no TorchScript" in write_torchscript(digits)
    assert not (digits / TORCHSCRIPT).exists()


def test_data_that_changed_since_are_refused(tmp_path, monkeypatch):
    sweep(tiny_plan(*SMALL), tmp_path / "runs")
    others = datasets.load("glyphs", 8)
    monkeypatch.setattr("lossbench.report.exporting.datasets.load", lambda *_: others)
    with pytest.raises(DataError, match="digits: is not what the run was made from"):
        list(export("ablation", tmp_path / "runs", tmp_path / "out", recipe="softmax"))

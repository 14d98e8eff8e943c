"""`lossbench embed`: the features of pictures by any model, with what is known of each, and going on after a kill."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

from experiments import sweep, tiny_plan
from lossbench import datasets
from lossbench.cli import main
from lossbench.datasets.dataset import DataError, Dataset
from lossbench.plugins import PluginError, Problem, registry
from lossbench.report.exporting import export
from lossbench.run import embedding
from lossbench.run.embedding import BatchSize, columns, embed
from lossbench.run.evaluation import embed as evaluated
from lossbench.run.exported import TORCHSCRIPT, load_exported, write_torchscript

PLUGIN = '''
from torch import nn

from lossbench import backbone


@backbone("halves", inputs=("images",), variants=True)
def halves(problem):
    """Every `variant`-th pixel, mapped to the embedding."""
    step = int(problem.variant)
    channels, height, width = problem.input_shape
    size = -(-height // step) * -(-width // step) * channels
    return nn.Sequential(nn.AvgPool2d(1, stride=step), nn.Flatten(), nn.Linear(size, problem.embedding_dim))
'''


class Program(nn.Module):
    """Means of the three channels, of the whole picture and of its upper half."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x.mean((2, 3)), x[:, :, : x.shape[2] // 2].mean((2, 3))], 1)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Colored pictures in a folder with a split, a script, two exported programs and the weights of a convnet."""
    folder = tmp_path_factory.mktemp("place")
    draw = np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 2)):
        for label in ("left", "right", "up"):
            (folder / "pictures" / part / label).mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(256, size=(16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "pictures" / part / label / f"{number}.png")
    example = torch.zeros(4, 3, 16, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Program(), example).save(str(folder / "script.pt"))
        torch.export.save(torch.export.export(Program(), (example,)), folder / "four.pt2")
        free = ({0: torch.export.Dim("batch")},)
        torch.export.save(torch.export.export(Program(), (example,), dynamic_shapes=free), folder / "any.pt2")
    torch.manual_seed(3)
    network = registry.find("backbone", "convnet").build(Problem(num_classes=2, embedding_dim=5, input_shape=(1, 8, 8)))
    torch.save({"network": network.state_dict()}, folder / "convnet.pt")
    return folder


def read(file: Path) -> dict[str, np.ndarray]:
    with np.load(file) as stored:
        return dict(stored)


def expected(place: Path, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)) -> np.ndarray:
    """The program's features of the folder's pictures, from the files and NumPy alone."""
    data = datasets.load(f"folder:{place}/pictures", 16)
    x = (data.images / 255 - np.array(mean)) / np.array(std)
    return np.concatenate([x.mean((1, 2)), x[:, :8].mean((1, 2))], 1)


@pytest.mark.parametrize("model", ["script.pt", "any.pt2", "four.pt2"])
def test_a_program_sees_its_own_size_and_normalization(place, tmp_path, model):
    """18 pictures: the program of exactly four gets the last two filled up."""
    shape = embed(f"folder:{place}/pictures", str(place / model), tmp_path / "f.npz", size=16)
    assert shape == (18, 6)
    assert np.allclose(read(tmp_path / "f.npz")["features"], expected(place), atol=1e-5)


def test_an_exported_program_knows_its_size(place, tmp_path):
    embed(f"folder:{place}/pictures", str(place / "any.pt2"), tmp_path / "f.npz")
    assert json.loads(str(read(tmp_path / "f.npz")["about"]))["size"] == 16
    with pytest.raises(PluginError, match=r"--size 20: .*any.pt2 takes 16 pixels only"):
        embed(f"folder:{place}/pictures", str(place / "any.pt2"), tmp_path / "g.npz", size=20)


def test_options_replace_the_normalization(place, tmp_path):
    out = tmp_path / "f.npz"
    embed(f"folder:{place}/pictures", str(place / "any.pt2"), out, mean=(0, 0, 0.5), std=(1, 1, 0.5))
    assert np.allclose(read(out)["features"], expected(place, (0, 0, 0.5), (1, 1, 0.5)), atol=1e-5)


def test_a_backbone_gives_what_a_run_would_see(place, tmp_path):
    embed("digits", "convnet", tmp_path / "f.npz", weights=place / "convnet.pt", dim=5)
    found = read(tmp_path / "f.npz")["features"]
    network = registry.find("backbone", "convnet").build(Problem(num_classes=2, embedding_dim=5, input_shape=(1, 8, 8)))
    network.load_state_dict(torch.load(place / "convnet.pt", weights_only=True)["network"])
    images = torch.from_numpy(np.array(datasets.load("digits").images)).unsqueeze(1)
    assert np.allclose(found, evaluated(network, images), atol=1e-5)


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_network_of_a_run_embeds_as_the_run_did(tmp_path):
    plan = tiny_plan('recipes=["softmax"]', "training.epochs=1", "budget.trials=1", "budget.seeds=1", "baselines=[]")
    sweep(plan, tmp_path / "runs")
    (written,) = export("ablation", tmp_path / "runs", tmp_path / "exports", recipe="softmax")
    write_torchscript(written.folder)
    run = load_exported(written.folder).embed(datasets.load("digits").images)
    for model in (written.folder, written.folder / TORCHSCRIPT):  # whose scaling is inside
        out = tmp_path / f"{model.name}.npz"
        embed("digits", str(model), out)
        assert np.allclose(read(out)["features"], run, atol=1e-5)
    with pytest.raises(PluginError, match="--size: an exported network says it itself"):
        embed("digits", str(written.folder), tmp_path / "other.npz", size=9)


def test_a_plugin_is_a_model_too(place, tmp_path):
    (tmp_path / "halves.py").write_text(PLUGIN)
    torch.manual_seed(0)
    torch.save(nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(16, 3)).state_dict(), tmp_path / "w.pt")
    arguments = ["embed", "digits", "--plugin", str(tmp_path / "halves.py"), "--model", "halves:2", "--dim", "3"]
    arguments += ["--weights", str(tmp_path / "w.pt"), "--out", str(tmp_path / "f.npz")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == f"{tmp_path}/f.npz: 1,797 x 3; use it as features:{tmp_path}/f.npz"


def test_the_file_is_a_data_set_with_labels_split_and_checksums(place, tmp_path):
    embed(f"folder:{place}/pictures", str(place / "any.pt2"), tmp_path / "f.npz")
    pictures, features = datasets.load(f"folder:{place}/pictures", 16), datasets.load(f"features:{tmp_path}/f.npz")
    assert features.class_names == pictures.class_names == ("left", "right", "up")
    assert np.array_equal(features.labels, pictures.labels)
    assert np.array_equal(features.fixed_split, pictures.fixed_split)
    about = json.loads(str(read(tmp_path / "f.npz")["about"]))
    assert about["pictures_sha256"] == pictures.checksum
    assert about["weights_sha256"] == hashlib.sha256((place / "any.pt2").read_bytes()).hexdigest()
    assert list(tmp_path.iterdir()) == [tmp_path / "f.npz"]


def made(**parts) -> Dataset:
    images = np.zeros((6, 4, 4), dtype=np.uint8)
    labels = np.array([0, 0, 1, 1, 2, 2])
    return Dataset(images=images, labels=labels, class_names=("a", "b", "c"), **parts)


def test_every_column_that_is_known_is_kept():
    data = made(
        groups=np.arange(6), roles=np.array([0, 1, 2, 3, 2, 2]), ids=np.array(list("uvwxyz")),
        class_split=np.array([0, 1, 2]), published_test=np.arange(6) % 2 == 1,
    )  # fmt: skip
    found = columns(data, "open-set")
    assert found["labels"].tolist() == list("aabbcc")
    assert found["split"].tolist() == ["train", "train", "val", "val", "test", "test"]
    assert found["role"].tolist() == ["query", "gallery", "both", "distractor", "both", "both"]
    assert (found["group"].tolist(), "".join(found["id"])) == ([0, 1, 2, 3, 4, 5], "uvwxyz")
    assert columns(data, "closed-set")["split"].tolist() == ["train", "test"] * 3


def test_validation_classes_that_are_only_a_choice_may_be_dealt_anew():
    data = made(class_split=np.array([0, 1, 2]), val_is_made=True)
    assert columns(data, "open-set")["split"].tolist() == ["train"] * 4 + ["test"] * 2
    assert "split" not in columns(data, "closed-set")


class KilledError(Exception):
    pass


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_a_killed_call_goes_on_from_its_last_whole_row(place, tmp_path, monkeypatch, cut):
    source, model = f"folder:{place}/pictures", str(place / "any.pt2")
    embed(source, model, tmp_path / "whole.npz", batch_size=4)
    begun = []

    def killing(done: int, total: int) -> None:
        begun.append(done)
        if done == 8:
            raise KilledError

    out = tmp_path / "f.npz"
    with pytest.raises(KilledError):
        embed(source, model, out, batch_size=4, progress=killing)
    part = tmp_path / "f.npz.part"
    part.write_bytes(part.read_bytes()[: -cut or None])  # the last row may have been cut
    begun.clear()
    embed(source, model, out, batch_size=4, progress=lambda done, total: begun.append(done))
    assert begun[0] == (8 if not cut else 7)
    assert begun[-1] == 18
    assert np.allclose(read(out)["features"], read(tmp_path / "whole.npz")["features"], atol=1e-6)
    assert not part.exists()


def test_rows_of_something_else_are_begun_anew(place, tmp_path):
    source, out = f"folder:{place}/pictures", tmp_path / "f.npz"
    with pytest.raises(KilledError):
        embed(source, str(place / "any.pt2"), out, batch_size=4, progress=kill_at(8), mean=(0, 0, 0))
    begun = []
    embed(source, str(place / "any.pt2"), out, progress=lambda done, total: begun.append(done))
    assert begun[0] == 0
    assert np.allclose(read(out)["features"], expected(place), atol=1e-5)


def kill_at(row: int):
    def progress(done: int, total: int) -> None:
        if done == row:
            raise KilledError

    return progress


def test_what_is_there_is_not_made_again_and_not_written_over(place, tmp_path):
    source, out = f"folder:{place}/pictures", tmp_path / "f.npz"
    embed(source, str(place / "any.pt2"), out)
    assert embed(source, str(place / "any.pt2"), out, progress=kill_at(0)) == (18, 6)
    with pytest.raises(DataError, match=r"f.npz: is there and was made otherwise; remove it or name another file"):
        embed(source, str(place / "any.pt2"), out, mean=(0, 0, 0))


def test_batches_grow_while_memory_is_there(monkeypatch):
    peaks = {8: 10.0, 16: 20.0, 32: 40.0, 64: 80.0}
    sizes = None
    monkeypatch.setattr(embedding, "reset_peak_memory", lambda device: True)
    monkeypatch.setattr(embedding, "_free_bytes", lambda device: 200.0)
    monkeypatch.setattr(embedding, "peak_memory_bytes", lambda device: 0.0 if sizes is None else peaks[sizes.now])
    sizes = BatchSize("cpu", fixed=None)
    for size in (8, 16, 32, 64):
        assert sizes.now == size
        sizes.took(size)
    assert sizes.now == 64  # twice as many would take 160 of the 100 that it may
    assert sizes.failed()
    assert sizes.now == 32
    sizes.took(32)
    assert sizes.now == 32  # what has failed once is not tried again
    assert not BatchSize("cpu", fixed=5).failed()


def test_a_batch_that_does_not_fit_is_halved(place, tmp_path, monkeypatch):
    real, taken = embedding._features, []

    def tight(data, encoder, start, size, device):
        if size > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        taken.append(size)
        return real(data, encoder, start, size, device)

    monkeypatch.setattr(embedding, "_features", tight)
    embed(f"folder:{place}/pictures", str(place / "any.pt2"), tmp_path / "f.npz")
    assert set(taken) == {2}
    assert np.allclose(read(tmp_path / "f.npz")["features"], expected(place), atol=1e-5)


@pytest.mark.parametrize(
    ("source", "model", "options", "said"),
    [
        ("pictures", "no.pt", {}, "no.pt: is not a file"),
        ("pictures", "convnet.pt", {}, "is neither TorchScript nor a program of torch.export; weights alone need"),
        ("pictures", "convnet", {}, "--model convnet: needs --weights FILE; nothing is downloaded"),
        ("pictures", "convnett", {"weights": "convnet.pt"}, "unknown backbone 'convnett'; did you mean 'convnet'?"),
        ("pictures", "linear", {"weights": "convnet.pt"}, "--model linear: takes vectors, not pictures"),
        ("pictures", "pixels", {"weights": "convnet.pt"}, "the network has no weights to fill"),
        ("digits", "convnet", {"weights": "convnet.pt"}, "embed.weight is not there in the network's shape; is --dim"),
        ("digits", "convnet", {"weights": "convnet.pt", "mean": (0.5,)}, "--mean: backbones of lossbench take"),
        ("pictures", "any.pt2", {"dim": 8}, "--dim: a file gives what it gives"),
        ("pictures", "any.pt2", {"weights": "convnet.pt"}, "any.pt2 holds its own"),
        ("pictures", "script.pt", {"mean": (0.5,), "std": (0.5,)}, "for a network of gray pictures, but these have 3"),
        ("pictures", "script.pt", {"mean": (0.5, 0.5)}, "--mean and --std have a value a channel: one, or three"),
        ("pictures", "any.pt2", {"protocol": "verification"}, "--protocol verification: "),
    ],
)
def test_mistakes_are_said(place, tmp_path, source, model, options, said):
    source = f"folder:{place}/pictures" if source == "pictures" else source
    model = str(place / model) if "." in model else model
    if "weights" in options:
        options = {**options, "weights": place / options["weights"]}
    with pytest.raises((PluginError, DataError)) as raised:
        embed(source, model, tmp_path / "f.npz", **options)
    assert said in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_a_program_does_not_take_is_one_line(place, tmp_path):
    with pytest.raises(DataError, match=r"the model does not take pictures of 3 x 4 x 4: "):
        embed(f"folder:{place}/pictures", small(place), tmp_path / "f.npz", size=4)


def small(place: Path) -> str:
    """A script that needs eight pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Sequential(nn.Conv2d(3, 2, 8), nn.Flatten())).save(str(place / "small.pt"))
    return str(place / "small.pt")


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="needs timm: the extra `vision`")
def test_a_model_of_timm_needs_its_weights_whole_and_gives_what_its_last_layer_takes(place, tmp_path):
    from lossbench.backbones import vision

    torch.manual_seed(0)
    whole = vision.timm_model("test_resnet", 1000)
    torch.save(whole.network.state_dict(), tmp_path / "w.pt")
    source, out = f"folder:{place}/pictures", tmp_path / "f.npz"
    embed(source, "timm:test_resnet", out, weights=tmp_path / "w.pt", size=32)
    images = torch.from_numpy(np.array(datasets.load(source, 32).images)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (whole.mean, whole.std))
    network = whole.network.eval()
    with torch.no_grad():
        features = network.forward_head(network.forward_features((images - mean) / std), pre_logits=True)
    assert np.allclose(read(out)["features"], features, atol=1e-4)
    state = whole.network.state_dict()
    del state["layer4.0.conv1.weight"]
    torch.save(state, tmp_path / "hole.pt")
    with pytest.raises(PluginError, match=r"hole.pt: has no 'layer4.0.conv1.weight'"):
        embed(source, "timm:test_resnet", tmp_path / "g.npz", weights=tmp_path / "hole.pt", size=32)

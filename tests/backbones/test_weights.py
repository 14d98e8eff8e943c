"""Weights from files: what is read, what is put where, and which holes are refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lossbench.backbones.trunk import trunk_of
from lossbench.backbones.weights import digest_of, put_into, read
from lossbench.plugins import PluginError


def network(out: int = 3, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    trunk = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten())
    return nn.ModuleDict({"trunk": trunk, "embed": nn.Linear(16, out)})


SOURCE = network(seed=1).state_dict()


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: state,
        lambda state: {f"module.{name}": value for name, value in state.items()},  # as DataParallel saves
        lambda state: {"network": state, "loss.softmax": {"weight": torch.zeros(2)}},  # as lossbench exports
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"neck.weight": torch.ones(3), **{f"backbone.{name}": value for name, value in state.items()}},
        lambda state: {name: value.half() for name, value in state.items()},
        lambda state: {name: value for name, value in state.items() if "num_batches" not in name},
    ],
)
def test_a_file_fills_a_network_however_its_names_begin(tmp_path, wrapped):
    torch.save(wrapped(SOURCE), tmp_path / "w.pt")
    target = network()
    assert put_into(target, read(tmp_path / "w.pt"), "w.pt") == []
    for name, value in SOURCE.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.allclose(target.state_dict()[name], value, atol=1e-3), name


def test_a_last_layer_of_another_shape_starts_anew_with_its_bias():
    target, before = network(out=5), network(out=5).state_dict()
    source = {**SOURCE, "embed.bias": torch.ones(5)}  # fits, and belongs to weights that do not
    assert put_into(target, source, "w.pt") == ["embed.weight", "embed.bias"]
    assert torch.equal(target["embed"].weight, before["embed.weight"])
    assert torch.equal(target["embed"].bias, before["embed.bias"])
    assert torch.equal(target["trunk"][0].weight, SOURCE["trunk.0.weight"])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"trunk.0.weight": torch.zeros(4, 3, 3, 3)}, "w.pt: trunk.0.weight is (4, 3, 3, 3) there and (4, 1, 3, 3)"),
        ({"trunk.1.bias": None}, "w.pt: has no 'trunk.1.bias'; did you mean 'trunk.0.bias'?"),
        (dict.fromkeys(SOURCE), "w.pt: none of its 1 tensors fits the network; it begins with other, the network with"),
    ],
)
def test_a_hole_inside_is_refused(changed, said):
    source = {name: value for name, value in {**SOURCE, **changed}.items() if value is not None} or {}
    source = source or {"other": torch.zeros(1)}
    with pytest.raises(PluginError) as raised:
        put_into(network(), source, "w.pt")
    assert said in str(raised.value)


class Exploit:
    def __reduce__(self):
        return print, ("ran",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (Exploit(), "holds more than tensors, which may run code; save `model.state_dict()`"),
        ([torch.zeros(1)], "holds list, not tensors by name"),
        ({"epoch": 3}, "holds no tensors by name, nor do network, state_dict"),
    ],
)
def test_what_is_no_weights_is_said_and_never_run(tmp_path, capsys, content, said):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(PluginError) as raised:
        read(tmp_path / "w.pt")
    assert f"weights: {tmp_path}/w.pt: {said}" in str(raised.value)
    assert capsys.readouterr().out == ""


def test_missing_damaged_and_changed_files_are_said(tmp_path):
    file = tmp_path / "w.pt"
    with pytest.raises(PluginError, match="is not a file"):
        read(file)
    file.write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(PluginError, match="damaged, or no file of torch"):
        read(file)
    torch.save(SOURCE, file)
    digest = digest_of(file)
    assert read(file, digest).keys() == SOURCE.keys()
    torch.save({**SOURCE, "embed.bias": torch.ones(3)}, file)
    assert read(file, digest)["embed.bias"].shape == SOURCE["embed.bias"].shape  # kept from before
    read.cache_clear()
    with pytest.raises(PluginError, match="changed while the experiment ran"):
        read(file, digest)


def test_safetensors_are_read(tmp_path):
    pytest.importorskip("safetensors")
    from safetensors.torch import save_file

    save_file(SOURCE, tmp_path / "w.safetensors")
    assert put_into(network(), read(tmp_path / "w.safetensors"), "w") == []
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(PluginError, match="damaged, or not what its name says"):
        read(tmp_path / "x.safetensors")


def test_a_frozen_trunk_neither_learns_nor_follows_the_batches():
    target = network(out=5)
    anew = put_into(target, SOURCE, "w.pt")
    trunk = trunk_of(target, anew, freeze=True, lr_factor=1.0)
    target.train()
    trunk.hold()
    modes = {path: module.training for path, module in target.named_modules()}
    assert [modes[path] for path in ("trunk", "trunk.1", "trunk.3")] == [False] * 3  # normalization, dropout
    assert modes["embed"]
    learning = [name for name, parameter in target.named_parameters() if parameter.requires_grad]
    assert learning == ["embed.weight", "embed.bias"]


def test_freezing_everything_is_refused():
    target = network()
    with pytest.raises(PluginError, match="freeze: the file fits the whole network"):
        trunk_of(target, put_into(target, SOURCE, "w.pt"), freeze=True, lr_factor=1.0)

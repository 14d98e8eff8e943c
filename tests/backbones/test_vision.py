"""Models of timm and torchvision: their own normalization, gray images, a new last layer, and none."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from lossbench.backbones import vision
from lossbench.plugins import PluginError, Problem, registry
from lossbench.run.model import to_input

MISSING = [name for name in ("timm", "torchvision") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {' and '.join(MISSING)}: the extra `vision`")

D = 8
NAMES = ["timm:test_resnet", "torchvision:mobilenet_v3_small"]


def build(name: str, channels: int = 3) -> torch.nn.Module:
    bare, _, variant = name.partition(":")
    problem = Problem(num_classes=3, embedding_dim=D, input_shape=(channels, 32, 32), variant=variant)
    return registry.find("backbone", bare).build(problem)


@pytest.mark.parametrize("name", NAMES)
def test_pictures_become_embeddings_and_gradients_reach_every_parameter(name):
    network = build(name).train()
    embeddings = network(torch.randn(4, 3, 32, 32))
    assert embeddings.shape == (4, D)
    embeddings.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_model_sees_its_own_normalization():
    model = vision.timm_model("test_resnet", D)
    seen = []
    model.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    pixels = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    vision.Normalized(model).eval()(to_input(pixels))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.mean, model.std))
    assert torch.allclose(seen[0], (pixels / 255 - mean) / std, atol=1e-5)


def test_gray_pictures_are_color_ones_of_equal_channels():
    network = build("timm:test_resnet").eval()
    gray = torch.randn(2, 1, 32, 32)
    assert torch.equal(network(gray), network(gray.expand(2, 3, 32, 32)))


@pytest.mark.parametrize("make", ["timm_model", "torchvision_model"])
def test_without_a_last_layer_come_the_features_that_it_would_take(make):
    name = {"timm_model": "test_resnet", "torchvision_model": "resnet18"}[make]
    torch.manual_seed(0)
    whole = getattr(vision, make)(name, D).network.eval()
    bare = getattr(vision, make)(name, 0).network.eval()
    state = bare.state_dict()
    bare.load_state_dict({key: value for key, value in whole.state_dict().items() if key in state})
    images = torch.randn(2, 3, 64, 64)
    last = list(whole.modules())[-1]
    assert torch.allclose(last(bare(images)), whole(images), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "name", "said"),
    [
        ("timm_model", "resnet19", "timm: unknown model 'resnet19'; did you mean 'resnet18'?"),
        ("torchvision_model", "alexnett", "torchvision: unknown model 'alexnett'; did you mean 'alexnet'?"),
    ],
)
def test_an_unknown_model_is_said(make, name, said):
    with pytest.raises(PluginError) as raised:
        getattr(vision, make)(name, D)
    assert str(raised.value) == said

"""Every built-in network: shapes, numbers of parameters, gradients everywhere, grey and colour."""

from __future__ import annotations

import pytest
import torch

from lossbench.plugins import Problem, registry
from lossbench.run.seeding import stream

D = 16


def build(name: str, *image_shape: int) -> torch.nn.Module:
    problem = Problem(num_classes=10, embedding_dim=D, image_shape=image_shape, generator=stream(0, "init"))
    return registry.find("backbone", name).build(problem)


SHAPES = [
    ("convnet", (1, 8, 8)),
    ("convnet", (1, 28, 28)),
    ("convnet", (3, 32, 32)),
    ("convnet4", (1, 28, 28)),
    ("convnet4", (1, 35, 35)),
    ("convnet4", (3, 64, 64)),
    ("resnet", (1, 32, 32)),
    ("resnet", (3, 48, 48)),
    ("resnet", (1, 112, 112)),
]


@pytest.mark.parametrize(("name", "shape"), SHAPES)
def test_images_become_embeddings_and_gradients_reach_every_parameter(name, shape):
    network = build(name, *shape)
    embeddings = network(torch.randn(4, *shape, generator=stream(0, "images")))
    assert embeddings.shape == (4, D)
    embeddings.square().sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize(("name", "shape"), SHAPES)
def test_an_image_is_embedded_alone_as_in_a_batch(name, shape):
    network = build(name, *shape).eval()
    images = torch.randn(3, *shape, generator=stream(1, "images"))
    with torch.no_grad():
        assert torch.allclose(network(images)[1:2], network(images[1:2]), atol=1e-5)


def conv(inputs: int, outputs: int, edge: int = 3) -> int:
    """Weights of a bias-free convolution and the two vectors of its batch normalization."""
    return inputs * outputs * edge * edge + 2 * outputs


def basic_block(inputs: int, outputs: int) -> int:
    return conv(inputs, outputs) + conv(outputs, outputs) + conv(inputs, outputs, edge=1)


@pytest.mark.parametrize("channels", [1, 3])
def test_parameters_by_hand(channels):
    expected = {
        ("convnet", 28): conv(channels, 16) + conv(16, 32) + conv(32, 32) + (32 * 4 * 4 + 1) * D,
        ("convnet4", 28): conv(channels, 32) + 3 * conv(32, 32) + (32 + 1) * D,
        ("convnet4", 64): conv(channels, 32) + 3 * conv(32, 32) + (32 * 4 * 4 + 1) * D,
        ("resnet", 64): conv(channels, 16)
        + basic_block(16, 32)
        + basic_block(32, 64)
        + basic_block(64, 128)
        + (128 + 1) * D,
    }
    for (name, edge), count in expected.items():
        network = build(name, channels, edge, edge)
        assert sum(parameter.numel() for parameter in network.parameters()) == count, (name, edge)

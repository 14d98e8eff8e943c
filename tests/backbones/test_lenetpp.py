"""LeNets++ as the centre-loss paper describes it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lossbench.backbones.lenetpp import LeNetPP
from lossbench.losses import SoftmaxLoss
from lossbench.plugins import Problem, registry


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def problem(**changes: object) -> Problem:
    return Problem(num_classes=10, embedding_dim=2, generator=torch.Generator().manual_seed(0), **changes)  # type: ignore[arg-type]


def test_the_papers_network_with_a_head_without_bias_has_its_number_of_parameters() -> None:
    network = registry.find("backbone", "lenetpp").build(problem())
    head = registry.find("loss", "softmax").build(problem(), head="linear")
    assert parameters(network) + parameters(head) == 797_624


def test_layers_come_in_the_papers_order() -> None:
    network = LeNetPP((1, 28, 28), 2)
    names = [type(layer).__name__ for layer in network.features]
    assert names == ["Conv2d", "PReLU", "Conv2d", "PReLU", "MaxPool2d"] * 3
    convolutions = [layer for layer in network.features if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [32, 32, 64, 64, 128, 128]
    assert {(layer.kernel_size, layer.padding) for layer in convolutions} == {((5, 5), (2, 2))}
    assert network.embed.in_features == 3 * 3 * 128


def test_weights_start_as_the_xavier_filler_draws_them() -> None:
    network = LeNetPP((1, 28, 28), 2, generator=torch.Generator().manual_seed(0))
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = math.sqrt(3 / layer.weight[0].numel())
            assert 0.95 * bound < float(layer.weight.detach().abs().max()) <= bound
            assert not layer.bias.any()
        if isinstance(layer, nn.PReLU):
            assert (layer.weight == 0.25).all()


def test_the_same_stream_gives_the_same_network_whatever_the_global_generator() -> None:
    networks = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        networks.append(LeNetPP((1, 28, 28), 2, width=0.25, generator=torch.Generator().manual_seed(7)))
    images = torch.randn(3, 1, 28, 28)
    assert torch.equal(networks[0](images), networks[1](images))


@pytest.mark.parametrize(("shape", "dim"), [((1, 28, 28), 2), ((3, 32, 32), 5), ((1, 8, 9), 3)])
def test_a_quarter_of_the_width_takes_images_of_any_size(shape: tuple[int, int, int], dim: int) -> None:
    network = registry.find("backbone", "lenetpp-quarter").build(
        Problem(num_classes=3, embedding_dim=dim, image_shape=shape)
    )
    assert network(torch.zeros(2, *shape)).shape == (2, dim)
    assert [layer.out_channels for layer in network.features if isinstance(layer, nn.Conv2d)] == [8, 8, 16, 16, 32, 32]


def test_images_that_halving_would_leave_empty_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 8 x 8 pixels, not 7 x 28"):
        LeNetPP((1, 7, 28), 2)


def test_a_head_without_bias_gives_the_scores_w_x() -> None:
    loss = SoftmaxLoss(4, 3, bias=False)
    embeddings = torch.randn(5, 3)
    torch.testing.assert_close(loss.logits(embeddings), embeddings @ loss.weight.T)
    assert [name for name, _ in loss.named_parameters()] == ["weight"]

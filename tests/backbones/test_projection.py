"""The baseline of large pictures: projected, the same way for everybody, with distances kept."""

from __future__ import annotations

import torch

from lossbench.plugins import Problem, registry


def pixels(*shape: int) -> torch.nn.Module:
    return registry.find("backbone", "pixels").build(Problem(num_classes=2, embedding_dim=8, image_shape=shape))


def test_small_pictures_are_compared_as_they_are():
    images = torch.randn(3, 1, 32, 32)
    assert torch.equal(pixels(1, 32, 32)(images), images.flatten(1))


def test_large_ones_keep_their_distances_in_1024_values():
    images = torch.rand(40, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    projected = pixels(3, 64, 64)(images)
    assert projected.shape == (40, 1024)
    ratio = torch.pdist(projected) / torch.pdist(images.flatten(1))
    assert (ratio - 1).abs().max() < 0.12
    assert (ratio - 1).abs().mean() < 0.03
    assert torch.equal(projected, pixels(3, 64, 64)(images)), "the same for every run"

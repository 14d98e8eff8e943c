"""What becomes of the pictures of a batch while a network trains; the same for every recipe.

Each kind draws on the host, once an epoch for all of its batches, from a stream of its own: one more kind leaves the
others' draws as they are, and nothing waits for a device. What is drawn is applied there, to the whole batch at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from lossbench.run.seeding import stream

ORDER = ("shift", "flip", "crop", "color", "erase")  # in which they are applied, however they are listed
UNIFORM = {"flip": 1, "crop": 4, "color": 3, "erase": 5}  # numbers in [0, 1) that a picture needs
LEAST_AREA, ASPECT = 0.25, 4 / 3  # of a crop
JITTER = 0.4  # either way, of brightness, contrast and saturation
ERASED_SHARE, ERASED_AREA, ERASED_ASPECT = 0.5, (0.02, 1 / 3), 10 / 3
WHITE = 255 / 128  # of pixels that are 0 where black: as the network sees them, and half of this more


class Augmentation:
    """The kinds of augmentation of a run, each with its stream of the run's seed.

    Args:
        purpose: name of the streams; that of `shift` is this very one, as stored runs have it.
    """

    def __init__(self, kinds: Sequence[str], seed: int, purpose: str = "augment") -> None:
        self.streams = {
            name: stream(seed, purpose if name == "shift" else f"{purpose}.{name}") for name in ORDER if name in kinds
        }

    def draw(self, plan: Tensor, images: torch.Size, device: torch.device) -> dict[str, Tensor]:
        """What each picture of an epoch's plan (steps, B) needs, by kind: (steps, k, B, 1); images are (N, C, H, W)."""
        steps, batch = plan.shape
        drawn = {
            name: draw_shifts(plan, images[-2], generator)
            if name == "shift"
            else torch.rand(steps, UNIFORM[name], batch, 1, generator=generator)
            for name, generator in self.streams.items()
        }
        return {name: numbers.to(device) for name, numbers in drawn.items()}


def augmented(images: Tensor, drawn: dict[str, Tensor], step: int, own: slice) -> Tensor:
    """A batch (B, C, H, W) of `to_input` with what was drawn for a step; `own` is this process's share of the batch."""
    kinds = {"shift": shift, "flip": flip, "crop": crop, "color": color, "erase": erase}
    for name, numbers in drawn.items():
        images = kinds[name](images, numbers[step, :, own])
    return images


def draw_shifts(plan: Tensor, height: int, generator: torch.Generator) -> Tensor:
    """By how much to move each image of a plan (steps, B): (steps, 2, B, 1), an eighth of the height either way."""
    steps, batch = plan.shape
    return torch.randint(0, 2 * max(1, height // 8) + 1, (steps, 2, batch, 1), generator=generator)


def shift(images: Tensor, offsets: Tensor) -> Tensor:
    """Move each image (B, C, H, W) by its offset (2, B, 1) of `draw_shifts`; edges are repeated."""
    height, width = images.shape[-2:]
    reach = max(1, height // 8)
    padded = functional.pad(images, (reach, reach, reach, reach), mode="replicate")
    rows = (torch.arange(height, device=images.device) + offsets[0]).unsqueeze(2)
    columns = (torch.arange(width, device=images.device) + offsets[1]).unsqueeze(1)
    batch = torch.arange(len(images), device=images.device).view(-1, 1, 1)
    return padded[batch, :, rows, columns].permute(0, 3, 1, 2)


def flip(images: Tensor, uniform: Tensor) -> Tensor:
    """Mirror every second image (B, C, H, W), left to right: those whose number (1, B, 1) is below a half."""
    return torch.where(uniform[0, :, :, None, None] < 0.5, images.flip(-1), images)


def crop(images: Tensor, uniform: Tensor) -> Tensor:
    """A rectangle of each image at the image's size, bilinear: a quarter of its area or more, 3:4 to 4:3.

    Args:
        uniform: (4, B, 1): its area, its aspect on a logarithmic scale, and where it lies, left and top.
    """
    area = LEAST_AREA + (1 - LEAST_AREA) * uniform[0, :, 0]
    aspect = ASPECT ** (2 * uniform[1, :, 0] - 1)
    wide, high = ((area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1))
    # Coordinates of `grid_sample` run from -1 to 1: the rectangle's middle, where it may lie.
    across, down = (
        (2 * place - 1) * (1 - size) for place, size in ((uniform[2, :, 0], wide), (uniform[3, :, 0], high))
    )
    zero = torch.zeros_like(wide)
    moved = torch.stack([wide, zero, across, zero, high, down], dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(moved, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def color(images: Tensor, uniform: Tensor) -> Tensor:
    """Brightness, contrast and saturation of each image (B, C, H, W), 0.6 to 1.4 times what they are; gray stays gray.

    Args:
        uniform: (3, B, 1): brightness, contrast and saturation.
    """
    brightness, contrast, saturation = (1 - JITTER + 2 * JITTER * uniform)[..., None, None]
    pixels = (images + WHITE / 2) * brightness
    mean = pixels.mean((1, 2, 3), keepdim=True)
    pixels = mean + contrast * (pixels - mean)
    gray = pixels.mean(1, keepdim=True)
    pixels = gray + saturation * (pixels - gray)
    return torch.clamp(pixels - WHITE / 2, -WHITE / 2, WHITE / 2)


def erase(images: Tensor, uniform: Tensor) -> Tensor:
    """Gray over a rectangle in every second image (B, C, H, W): Zhong et al. 2020, with gray in place of noise.

    Args:
        uniform: (5, B, 1): whether, its area, its aspect on a logarithmic scale, and where it lies, left and top.
    """
    height, width = images.shape[-2:]
    low, high = ERASED_AREA
    area = low + (high - low) * uniform[1]
    aspect = ERASED_ASPECT ** (2 * uniform[2] - 1)
    wide, tall = ((area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1))
    left, top = uniform[3] * (1 - wide), uniform[4] * (1 - tall)
    across = (torch.arange(width, device=images.device) + 0.5) / width  # middles of the pixels, (W,) against (B, 1)
    down = (torch.arange(height, device=images.device) + 0.5) / height
    columns = (left <= across) & (across < left + wide)
    rows = (top <= down) & (down < top + tall) & (uniform[0] < ERASED_SHARE)
    return images.masked_fill((rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1), 0.0)

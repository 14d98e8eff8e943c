"""What becomes of pictures in training: each kind against a picture made by hand, and the draws of a seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from experiments import run_spec
from lossbench.plugins.mistakes import SpecError
from lossbench.run.augmentation import (
    ORDER,
    Augmentation,
    augmented,
    color,
    crop,
    draw_shifts,
    erase,
    flip,
    shift,
)
from lossbench.run.execution import execute
from lossbench.run.model import to_input
from lossbench.specification.training_settings import AUGMENTS, Training

CPU = torch.device("cpu")
PLAN = torch.zeros(3, 40, dtype=torch.long)  # three steps of forty pictures
ALL = slice(0, 40)


def pictures(count: int = 40, channels: int = 3, edge: int = 16) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return to_input(torch.from_numpy(rng.integers(0, 256, size=(count, channels, edge, edge), dtype=np.uint8)))


def numbers(*values: float) -> torch.Tensor:
    """(k, 1, 1): what one picture needs."""
    return torch.tensor(values).view(-1, 1, 1)


def test_shift_moves_each_image_by_whole_pixels_and_repeats_edges():
    images = torch.arange(64.0).view(1, 1, 8, 8).repeat(20, 1, 1, 1)
    offsets = draw_shifts(torch.zeros(2, 20), 8, torch.Generator().manual_seed(0))
    moved = shift(images, offsets[1])
    expected = {
        tuple(np.pad(images[0, 0].numpy(), 1, mode="edge")[dy : dy + 8, dx : dx + 8].ravel())
        for dy in range(3)
        for dx in range(3)
    }
    found = {tuple(image.flatten().tolist()) for image in moved}
    assert found <= expected
    assert len(found) > 3


def test_flip_mirrors_half_of_the_images():
    images = pictures()
    uniform = torch.rand(1, 40, 1, generator=torch.Generator().manual_seed(0))
    found = flip(images, uniform)
    mirrored = uniform.flatten() < 0.5
    assert 10 < int(mirrored.sum()) < 30
    assert torch.equal(found[mirrored], torch.from_numpy(images[mirrored].numpy()[..., ::-1].copy()))
    assert torch.equal(found[~mirrored], images[~mirrored])


def test_crop_is_a_rectangle_of_the_image_at_the_images_size():
    image = pictures(1, edge=12)
    whole = crop(image, numbers(1.0, 0.5, 0.3, 0.9))  # all of the area, square: it can lie in one place only
    assert torch.allclose(whole, image, atol=1e-5)
    quarter = crop(image, numbers(0.0, 0.5, 0.0, 1.0))  # a quarter of the area, square, on the left and at the bottom
    cut = Image.fromarray(image[0, 0].numpy()).resize((12, 12), Image.Resampling.BILINEAR, box=(0, 6, 6, 12))
    assert np.allclose(quarter[0, 0].numpy()[1:-1, 1:-1], np.asarray(cut)[1:-1, 1:-1], atol=1e-4)
    tall = crop(torch.arange(12.0).repeat(12, 1).view(1, 1, 12, 12), numbers(0.2, 0.0, 0.0, 0.0))
    width = 12 * (0.4 * 3 / 4) ** 0.5
    assert float(tall[0, 0, 0, -1] - tall[0, 0, 0, 0]) == pytest.approx(width * 11 / 12, abs=0.5)


def test_color_changes_one_thing_at_a_time_and_stays_within_the_range():
    images = pictures(1)
    same = 0.5
    assert torch.allclose(color(images, numbers(same, same, same)), images, atol=1e-6)
    pixels = images.numpy() * 128 + 127.5  # 0 to 255
    darker = color(images, numbers(0.0, same, same)).numpy() * 128 + 127.5
    assert np.allclose(darker, 0.6 * pixels, atol=1e-3)
    flat = color(images, numbers(same, 0.0, same)).numpy() * 128 + 127.5
    assert np.allclose(flat, pixels.mean() + 0.6 * (pixels - pixels.mean()), atol=1e-2)
    pale = color(images, numbers(same, same, 0.0)).numpy() * 128 + 127.5
    gray = pixels.mean(1, keepdims=True)
    assert np.allclose(pale, gray + 0.6 * (pixels - gray), atol=1e-2)
    for channels in (1, 3):
        bright = color(pictures(channels=channels), torch.ones(3, 40, 1))
        assert float(bright.min()) >= -127.5 / 128
        assert float(bright.max()) <= 127.5 / 128
    grays = pictures(channels=1)
    assert torch.allclose(color(grays, numbers(same, same, 1.0)), grays, atol=1e-6)


def test_erase_grays_one_rectangle_in_half_of_the_images():
    images = torch.ones(200, 3, 20, 20)
    uniform = torch.rand(5, 200, 1, generator=torch.Generator().manual_seed(0))
    found = erase(images, uniform)
    gone = (found == 0).all(1).numpy()
    touched = gone.any((1, 2))
    assert 70 < touched.sum() < 130
    shares = gone[touched].mean((1, 2))
    assert shares.min() > 0.005
    assert shares.max() < 0.40
    for mask in gone[touched]:
        rows, columns = mask.any(1), mask.any(0)
        assert np.array_equal(mask, rows[:, None] & columns[None])  # a rectangle
        assert np.ptp(np.flatnonzero(rows)) + 1 == rows.sum()  # without a gap
    assert torch.equal(found.amax(1), found.amin(1))
    corner = erase(images[:1], numbers(0.0, 1.0, 0.5, 0.0, 1.0))[0, 0] == 0  # a third, square, left and at the bottom
    assert bool(corner[-1, 0])
    assert int(corner.sum()) == 12 * 12  # pixels whose middles lie within 20 / sqrt(3) = 11.5


def test_each_kind_draws_from_a_stream_of_its_own():
    shape = torch.Size((40, 3, 16, 16))
    every = Augmentation(ORDER, 7).draw(PLAN, shape, CPU)
    assert list(every) == list(ORDER) == list(AUGMENTS)
    for name, drawn in every.items():
        (alone,) = Augmentation([name], 7).draw(PLAN, shape, CPU).values()
        assert torch.equal(alone, drawn)
        assert not torch.equal(Augmentation([name], 8).draw(PLAN, shape, CPU)[name], drawn)
    uniform = [drawn[:, 0].flatten().tolist() for name, drawn in every.items() if name != "shift"]
    assert len({tuple(row) for row in uniform}) == 4


def test_a_share_of_a_batch_gets_what_the_whole_batch_would():
    images, drawn = pictures(), Augmentation(ORDER, 7).draw(PLAN, torch.Size((40, 3, 16, 16)), CPU)
    whole = augmented(images, drawn, 1, ALL)
    parts = [augmented(images[own], drawn, 1, own) for own in (slice(0, 13), slice(13, 40))]
    assert torch.allclose(torch.cat(parts), whole, atol=1e-6)
    assert not torch.equal(augmented(images, drawn, 2, ALL), whole)
    assert torch.equal(augmented(images, {}, 1, ALL), images)


def test_a_run_with_all_of_them_repeats_itself_and_differs_from_one_without():
    settings = ("training.epochs=1", 'training.augment=["erase", "color", "crop", "flip", "shift"]')
    first, again = (execute(run_spec("softmax", *settings, final=False)).record for _ in range(2))
    assert first["status"] != "failed"
    assert first["curves"]["loss"][1:] == again["curves"]["loss"][1:]
    plain = execute(run_spec("softmax", "training.epochs=1", final=False)).record
    assert plain["curves"]["loss"][1:] != first["curves"]["loss"][1:]


def test_a_file_may_name_none_one_or_several_in_any_order():
    assert Training().augment == Training(augment="none").augment == Training(augment=[]).augment == ()
    assert Training(augment="shift") == Training(augment=["shift"])
    assert Training(augment=["erase", "flip"]) == Training(augment=["flip", "erase"])
    for given, stored in (("none", "none"), ("shift", "shift"), (["erase", "flip"], ["flip", "erase"])):
        assert Training(augment=given).model_dump()["augment"] == stored
        assert Training.model_validate(Training(augment=given).model_dump()) == Training(augment=given)


def test_the_identity_of_runs_with_and_without_a_shift_is_what_it_was():
    assert run_spec("softmax")._identity()["training"].get("augment") is None
    assert run_spec("softmax", "training.augment=shift")._identity()["training"]["augment"] == "shift"
    several = run_spec("softmax", 'training.augment=["erase", "shift"]')
    assert several._identity()["training"]["augment"] == ["shift", "erase"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ('["flop"]', r"training.augment\[0\]: 'flop' is not .*; did you mean 'flip'\?"),
        ('["flip", "flip"]', "training.augment: 'flip' is listed twice"),
        ("rotate", r"training.augment\[0\]: 'rotate' is not 'shift', 'flip'"),
        ("3", "training.augment: 3 is not a list"),
    ],
)
def test_what_is_no_augmentation_is_said(given, said):
    with pytest.raises(SpecError, match=said):
        run_spec("softmax", f"training.augment={given}")

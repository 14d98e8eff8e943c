"""AdaFace and MagFace against their equations written as loops over plain numbers, and against what they contain."""

from __future__ import annotations

import math

import pytest
import torch
from pytorch_metric_learning.losses import ArcFaceLoss, CosFaceLoss

from lossbench.losses import AdaFaceLoss, MagFaceLoss

C, D, B = 4, 3, 12


def batch(seed: int, scale: float = 1.0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.linspace(0.3, 2.0, B, dtype=torch.float64).unsqueeze(1)
    embeddings = torch.randn(B, D, generator=generator, dtype=torch.float64)
    return scale * lengths * embeddings / embeddings.norm(dim=1, keepdim=True), torch.arange(B) % C


def norm(vector: list[float]) -> float:
    return math.sqrt(sum(value * value for value in vector))


def angle(first: list[float], second: list[float]) -> float:
    return math.acos(sum(a * b for a, b in zip(first, second, strict=True)) / norm(first) / norm(second))


def negative_log_softmax(logits: list[float], own: int) -> float:
    top = max(logits)
    return top + math.log(sum(math.exp(value - top) for value in logits)) - logits[own]


def by_loops(points: list, proxies: list, labels: list[int], scale: float, changed) -> list[float]:
    """One value a sample: the cross-entropy with `changed(i, theta)` for the cosine of the own proxy."""
    losses = []
    for i, (point, label) in enumerate(zip(points, labels, strict=True)):
        cosines = [math.cos(angle(point, proxy)) for proxy in proxies]
        cosines[label] = changed(i, angle(point, proxies[label]))
        losses.append(negative_log_softmax([scale * cosine for cosine in cosines], label))
    return losses


@pytest.mark.parametrize("seed", range(3))
def test_adaface_by_loops_over_three_steps_of_its_averages(seed):
    m, h, scale, momentum = 0.4, 0.5, 8.0, 0.7
    loss = AdaFaceLoss(C, D, m=m, h=h, scale=scale, momentum=momentum, generator=torch.Generator().manual_seed(seed))
    loss.double()
    proxies = loss.proxies.tolist()
    mean = deviation = None
    for step in range(3):
        embeddings, labels = batch(10 * seed + step, scale=1.0 + step)
        points = embeddings.tolist()
        lengths = [norm(point) for point in points]
        now = sum(lengths) / B
        spread = math.sqrt(sum((length - now) ** 2 for length in lengths) / B)
        mean = now if mean is None else momentum * mean + (1 - momentum) * now
        deviation = spread if deviation is None else momentum * deviation + (1 - momentum) * spread
        quality = [max(-1.0, min(1.0, (length - mean) / ((deviation + 1e-3) / h))) for length in lengths]
        assert min(quality) < -0.5
        assert max(quality) > 0.5

        def changed(i: int, theta: float, quality=quality) -> float:
            g_angle, g_add = -m * quality[i], m * quality[i] + m
            return math.cos(min(math.pi, max(0.0, theta + g_angle))) - g_add

        expected = by_loops(points, proxies, labels.tolist(), scale, changed)
        assert loss(embeddings, labels).item() == pytest.approx(sum(expected) / B, rel=1e-7)
    loss.eval()
    before = loss.mean.item(), loss.deviation.item()
    loss(*batch(99))
    assert (loss.mean.item(), loss.deviation.item()) == before == (pytest.approx(mean), pytest.approx(deviation))


@pytest.mark.parametrize(("quality", "head"), [(-1, ArcFaceLoss), (0, CosFaceLoss)])
def test_adaface_is_arcface_for_short_and_cosface_for_middling_embeddings(quality, head):
    ours = AdaFaceLoss(C, D, m=0.3, scale=8.0, generator=torch.Generator().manual_seed(0)).double().eval()
    with torch.no_grad():
        ours.mean.fill_(10.0 if quality else 1.0)
        ours.deviation.fill_(0.1)
    embeddings, labels = batch(0)
    embeddings = embeddings / embeddings.norm(dim=1, keepdim=True)
    theirs = head(C, D, margin=math.degrees(0.3) if quality else 0.3, scale=8.0)
    theirs.W.data = ours.proxies.detach().T.clone()
    assert ours(embeddings, labels).item() == pytest.approx(theirs(embeddings, labels).item(), rel=1e-9)


def test_no_gradient_of_adaface_lengthens_an_embedding():
    loss = AdaFaceLoss(C, D, generator=torch.Generator().manual_seed(0)).double()
    embeddings, labels = batch(0)
    embeddings.requires_grad_()
    loss(embeddings, labels).backward()
    along = (embeddings.grad * embeddings).sum(1)
    assert along.abs().max() < 1e-9 < embeddings.grad.abs().max()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [0.5, 20.0, 100.0], ids=["short", "inside", "long"])
def test_magface_by_loops(seed, scale):
    l_a, u_a, l_m, u_m, lambda_g, s = 5.0, 45.0, 0.3, 0.9, 7.0, 8.0
    loss = MagFaceLoss(
        C, D, l_a=l_a, u_a=u_a, l_m=l_m, u_m=u_m, lambda_g=lambda_g, scale=s,
        generator=torch.Generator().manual_seed(seed),
    ).double()  # fmt: skip
    embeddings, labels = batch(seed, scale)
    points = embeddings.tolist()
    lengths = [norm(point) for point in points]

    def changed(i: int, theta: float) -> float:
        margin = l_m + (u_m - l_m) / (u_a - l_a) * (min(max(lengths[i], l_a), u_a) - l_a)
        return math.cos(theta + margin) if theta + margin <= math.pi else math.cos(theta) - margin * math.sin(margin)

    def g(a: float) -> float:
        if a < l_a:
            return 1 / l_a + l_a / u_a**2 + (a - l_a) * (1 / u_a**2 - 1 / l_a**2)
        return 1 / a + a / u_a**2

    expected = by_loops(points, loss.proxies.tolist(), labels.tolist(), s, changed)
    total = sum(value + lambda_g * g(length) for value, length in zip(expected, lengths, strict=True)) / B
    assert loss(embeddings, labels).item() == pytest.approx(total, rel=1e-7)


def test_magface_of_one_margin_without_lengthening_is_arcface():
    ours = MagFaceLoss(C, D, l_m=0.5, u_m=0.5, lambda_g=0.0, scale=16.0, generator=torch.Generator().manual_seed(0))
    theirs = ArcFaceLoss(C, D, margin=math.degrees(0.5), scale=16.0)
    theirs.W.data = ours.double().proxies.detach().T.clone()
    embeddings, labels = batch(1, scale=30.0)
    assert ours(embeddings, labels).item() == pytest.approx(theirs(embeddings, labels).item(), rel=1e-9)


def test_near_its_proxy_an_embedding_grows_if_lambda_g_is_the_least_that_the_paper_allows():
    """The paper's bound, s u^2 l^2 / (u^2 - l^2) (u_m - l_m) / (u - l), is 22.59 at its defaults: 35 lies above."""
    least = 64 * (110**2 * 10**2 / (110**2 - 10**2)) * (0.8 - 0.45) / (110 - 10)
    assert least == pytest.approx(22.5867, rel=1e-5)
    loss = MagFaceLoss(2, 2, lambda_g=1.01 * least).double()
    with torch.no_grad():
        loss.proxies.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    for length in (0.5, 9.0, 11.0, 30.0, 60.0):
        points = torch.tensor([[length, 1e-3 * length]], dtype=torch.float64, requires_grad=True)
        loss(points, torch.tensor([0])).backward()
        assert points.grad[0, 0] < 0, length


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"l_a": 0.0}, "l_a, u_a: 0 and 110"), ({"u_a": 10.0}, "l_a, u_a: 10 and 10"), ({"u_m": 0.4}, "l_m, u_m: 0.45")],
)
def test_magface_refuses_ends_that_are_none(changes, said):
    with pytest.raises(ValueError, match=said):
        MagFaceLoss(C, D, **changes)


def test_the_logits_of_both_are_scaled_cosines_without_a_margin():
    for head in (AdaFaceLoss(2, 2, scale=4.0), MagFaceLoss(2, 2, scale=4.0)):
        with torch.no_grad():
            head.proxies.copy_(torch.tensor([[3.0, 0.0], [0.0, -2.0]]))
        torch.testing.assert_close(
            head.logits(torch.tensor([[0.0, 5.0]])), torch.tensor([[0.0, -4.0]]), atol=1e-5, rtol=0
        )

"""Networks and fitted maps of vectors: what they start as, and what they are fitted to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import lossbench.backbones.fitted as fitted
from lossbench.plugins import PluginError, Problem, registry
from lossbench.run.seeding import stream
from lossbench.specification.recipes import LEARNING_RATES

F = 12


def build(name: str, dim: int = 5, classes: int = 4) -> torch.nn.Module:
    problem = Problem(num_classes=classes, embedding_dim=dim, input_shape=(F,), generator=stream(0, "init"))
    return registry.find("backbone", name).build(problem)


@pytest.fixture(scope="module")
def samples() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 4
    spread = rng.normal(size=(F, F))
    points = rng.normal(size=(4, F))[labels] * 2 + rng.normal(size=(200, F)) @ spread + 7
    return torch.from_numpy(points.astype(np.float32)), torch.from_numpy(labels)


@pytest.mark.parametrize("name", ["linear", "mlp", "residual"])
def test_vectors_become_embeddings_and_gradients_reach_every_parameter(name):
    network = build(name)
    embeddings = network(torch.randn(8, F, generator=stream(0, "vectors")))
    assert embeddings.shape == (8, 5)
    (embeddings * torch.arange(5)).sum().backward()
    reached = {key: parameter.grad is not None for key, parameter in network.named_parameters()}
    assert all(reached.values()), reached


def test_residual_starts_as_the_identity_and_else_as_a_projection_that_keeps_lengths():
    x = torch.randn(6, F, generator=stream(0, "vectors"))
    assert torch.equal(build("residual", F).eval()(x), x)
    wider = build("residual", 2 * F).eval()(x)
    assert torch.allclose(wider @ wider.T, x @ x.T, atol=1e-4)
    narrower = build("residual", 5).eval()
    basis = narrower(torch.eye(F))
    assert torch.allclose(basis.T @ basis, torch.eye(5), atol=1e-5)
    assert torch.equal(build("residual", 5).eval()(x), narrower(x))  # from its own stream


def test_one_step_at_the_default_rate_moves_a_vector_of_length_one_by_a_part_of_it():
    x = torch.nn.functional.normalize(torch.randn(64, F, generator=stream(0, "vectors")))
    network = build("residual", F).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATES["adam"][0])
    network(x)[:, 0].sum().backward()
    optimizer.step()
    moved = (network(x) - x).detach().norm(dim=1)
    assert 0.001 < float(moved.mean()) < 0.1


def test_whitening_is_scikit_learns(samples):
    points, labels = samples
    network = build("pca")
    network.fit(points, labels)
    expected = PCA(5, whiten=True, svd_solver="full").fit_transform(points.double().numpy())
    found = network(points).numpy() * np.sqrt(199 / 200)  # scikit-learn divides by N - 1
    assert np.allclose(np.abs(found), np.abs(expected), atol=1e-4)


def test_whitening_leaves_out_what_does_not_vary(samples):
    points, labels = samples
    flat = points.clone()
    flat[:, 3:] = 0
    network = build("pca")
    network.fit(flat, labels)
    assert torch.allclose(network(flat)[:, :3].std(0, correction=0), torch.ones(3), atol=1e-3)
    assert not network(flat)[:, 3:].any()


def test_discriminants_are_scikit_learns(samples):
    points, labels = samples
    network = build("lda", dim=2)
    network.fit(points, labels)
    expected = LinearDiscriminantAnalysis(n_components=2).fit(points.double().numpy(), labels).transform(points)
    assert np.allclose(network(points).numpy(), expected, atol=1e-3)
    assert build("lda", dim=64).matrix.shape == (F, 3)  # no more than classes less one


def test_discriminants_of_many_samples_are_those_of_a_fixed_sample(samples, monkeypatch):
    monkeypatch.setattr(fitted, "LDA_SAMPLES", 120)
    first, second = build("lda"), build("lda")
    first.fit(*samples)
    second.fit(*samples)
    assert torch.equal(first.matrix, second.matrix)
    whole = build("lda")
    monkeypatch.setattr(fitted, "LDA_SAMPLES", 1000)
    whole.fit(*samples)
    assert not torch.equal(first.matrix, whole.matrix)


@pytest.mark.parametrize("name", ["linear", "mlp", "residual", "features", "pca", "lda"])
def test_backbones_say_what_they_take(name):
    assert registry.find("backbone", name).inputs == ("vectors",)


def test_either_shape_of_a_problem_follows_from_the_other():
    assert Problem(num_classes=2, embedding_dim=2, image_shape=(3, 8, 8)).input_shape == (3, 8, 8)
    assert Problem(num_classes=2, embedding_dim=2, input_shape=(7,)).image_shape == (7, 1, 1)
    assert Problem(num_classes=2, embedding_dim=2, input_shape=(3, 9, 9)).image_shape == (3, 9, 9)
    with pytest.raises(PluginError, match="neither"):
        Problem(num_classes=2, embedding_dim=2, input_shape=(7, 7))

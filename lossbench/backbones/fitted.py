"""Linear maps of vectors that are fitted to the training samples in closed form: baselines, which no step trains."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

CHUNK = 8192  # rows at a time
LDA_SAMPLES = 50_000  # of more training samples a fixed sample is fitted to


class Fitted(nn.Module):
    """(x - mean) A, with mean (F,) and A (F, D) in buffers; both are zero until `fit`."""

    mean: Tensor
    matrix: Tensor

    def __init__(self, features: int, dimensions: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("matrix", torch.zeros(features, dimensions))

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings (B, D) of vectors (B, F)."""
        return (x - self.mean) @ self.matrix

    def fit(self, samples: Tensor, labels: Tensor) -> None:
        """Take mean and A from vectors (N, F), read by rows, and labels (N,)."""
        raise NotImplementedError

    def _keep(self, mean: np.ndarray, matrix: np.ndarray) -> None:
        """Fill the buffers; columns that the samples do not determine stay zero."""
        self.mean.copy_(torch.from_numpy(mean))
        self.matrix[:, : matrix.shape[1]] = torch.from_numpy(matrix).to(self.matrix)


class Whitening(Fitted):
    """The first D principal components, each divided by its standard deviation (Jegou and Chum 2012, section 2).

    Directions without variance (below 1e-6 of the largest) are left out.
    """

    def fit(self, samples: Tensor, labels: Tensor) -> None:
        """From the covariance of the samples, summed by chunks in float64."""
        count, features = samples.shape
        total, products = np.zeros(features), np.zeros((features, features))
        for start in range(0, count, CHUNK):
            chunk = _rows(samples, slice(start, start + CHUNK))
            total += chunk.sum(0)
            products += chunk.T @ chunk
        mean = total / count
        variances, directions = np.linalg.eigh(products / count - np.outer(mean, mean))
        variances, directions = variances[::-1], directions[:, ::-1]
        kept = variances[: self.matrix.shape[1]] > 1e-6 * variances[0]
        chosen = np.flatnonzero(kept)
        self._keep(mean, directions[:, chosen] / np.sqrt(variances[chosen]))


class Discriminants(Fitted):
    """scikit-learn's LDA by singular values: directions that separate the classes, which have unit variance."""

    def fit(self, samples: Tensor, labels: Tensor) -> None:
        """From all samples, or from LDA_SAMPLES of them, the same in every run."""
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        rows = np.arange(len(labels))
        if len(rows) > LDA_SAMPLES:
            rows = np.sort(np.random.RandomState(0).permutation(len(rows))[:LDA_SAMPLES])
        index = torch.from_numpy(rows).to(labels.device)
        model = LinearDiscriminantAnalysis(solver="svd")
        model.fit(_rows(samples, index), labels[index].cpu().numpy())
        self._keep(model.xbar_, model.scalings_[:, : self.matrix.shape[1]])


def _rows(samples: Tensor, which: slice | Tensor) -> np.ndarray:
    return samples[which].cpu().numpy().astype(np.float64)

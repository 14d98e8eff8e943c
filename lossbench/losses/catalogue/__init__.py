"""The losses of pytorch-metric-learning as plugins; importing a module of this package registers its losses.

`heads` have a proxy or more for each class, `pairwise` compare the samples of a batch, `rankings` score the order in
which a query sees the others. The defaults are those of the paper or, where it names none, of the library.
"""

from __future__ import annotations

# What pytorch-metric-learning exports and no entry of the catalogue builds, and why.
NOT_IN_CATALOGUE = {
    "BaseLossWrapper": "base class",
    "BaseMetricLossFunction": "base class",
    "GenericPairLoss": "base class",
    "EmbeddingRegularizerMixin": "mixin",
    "WeightRegularizerMixin": "mixin",
    "CrossBatchMemory": "the parameter `memory` of a pair loss",
    "MultipleLosses": "a recipe with `+`",
    "InstanceLoss": "takes the rank of a label for a position in the batch, so that its value depends on their order",
    "ManifoldLoss": "takes no labels: its classes are drawn at random",
    "SelfSupervisedLoss": "takes two views of an image and no labels",
    "VICRegLoss": "takes two views of an image and no labels",
}

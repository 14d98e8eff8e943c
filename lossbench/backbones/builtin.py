"""The built-in backbones as plugins; torch is imported when one is built."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lossbench.plugins import Problem, backbone

if TYPE_CHECKING:
    from torch import nn

    from lossbench.plugins.plugin import Input

IMAGES: tuple[Input, ...] = ("images",)
VECTORS: tuple[Input, ...] = ("vectors",)


@backbone("convnet", source="three strided 3x3 convolutions, batch normalization, ReLU", inputs=IMAGES)
def convnet(problem: Problem) -> nn.Module:
    """Three strided convolutions of 16, 32 and 32 channels: the affordable network for 8 to 32 pixels."""
    from lossbench.backbones.convnet import ConvNet

    return ConvNet(problem.image_shape, problem.embedding_dim)


@backbone("lenetpp", source="doi:10.1007/978-3-319-46478-7_31, LeNets++", inputs=IMAGES)
def lenetpp(problem: Problem) -> nn.Module:
    """LeNets++ of the centre-loss paper: six 5x5 convolutions of 32 to 128 channels with PReLU."""
    from lossbench.backbones.lenetpp import LeNetPP

    return LeNetPP(problem.image_shape, problem.embedding_dim, generator=problem.generator)


@backbone("lenetpp-quarter", source="LeNets++ with a quarter of the channels", inputs=IMAGES)
def lenetpp_quarter(problem: Problem) -> nn.Module:
    """LeNets++ with 8 to 32 channels: about a tenth of the arithmetic of the paper's network."""
    from lossbench.backbones.lenetpp import LeNetPP

    return LeNetPP(problem.image_shape, problem.embedding_dim, width=0.25, generator=problem.generator)


@backbone(
    "convnet4",
    source="Conv-4 of Vinyals et al. 2016, arXiv:1606.04080, 32 channels, first block strided",
    inputs=IMAGES,
)
def convnet4(problem: Problem) -> nn.Module:
    """Four blocks of 32 channels, the first strided, the others pooled: for 28 to 64 pixels."""
    from lossbench.backbones.convnet4 import ConvNet4

    return ConvNet4(problem.image_shape, problem.embedding_dim)


@backbone("resnet", source="He et al. 2016, arXiv:1512.03385, one basic block a stage", inputs=IMAGES)
def resnet(problem: Problem) -> nn.Module:
    """A stem and three residual blocks of 32, 64 and 128 channels: for 32 to 112 pixels, grey or colour."""
    from lossbench.backbones.resnet import ResNet

    return ResNet(problem.image_shape, problem.embedding_dim)


@backbone("timm", source="timm, with weights of your own: `[pretrained]`", inputs=IMAGES, variants=True)
def timm(problem: Problem) -> nn.Module:
    """`timm:NAME`: a model of timm, its last layer new, behind its own normalization (extra `vision`)."""
    from lossbench.backbones import vision

    return vision.Normalized(vision.timm_model(problem.variant, problem.embedding_dim))


@backbone("torchvision", source="torchvision, with weights of your own: `[pretrained]`", inputs=IMAGES, variants=True)
def torchvision(problem: Problem) -> nn.Module:
    """`torchvision:NAME`: a classifier of torchvision, its last layer new, behind its own normalization (`vision`)."""
    from lossbench.backbones import vision

    return vision.Normalized(vision.torchvision_model(problem.variant, problem.embedding_dim))


@backbone("pixels", source="no network", inputs=IMAGES)
def pixels(problem: Problem) -> nn.Module:
    """The image itself, flattened: the baseline that learns nothing. Above 1,024 values a fixed random projection."""
    from torch import nn

    from lossbench.backbones.projection import LONGEST, Projection

    values = math.prod(problem.image_shape)
    return nn.Flatten() if values <= LONGEST else Projection(values)


@backbone("features", source="no network", inputs=VECTORS)
def features(problem: Problem) -> nn.Module:
    """The vector itself: the baseline that learns nothing. Ignores the embedding dimension."""
    from torch import nn

    return nn.Flatten()


@backbone("linear", source="one linear layer", inputs=VECTORS)
def linear(problem: Problem) -> nn.Module:
    """One linear layer with a bias."""
    from torch import nn

    return nn.Linear(problem.input_shape[0], problem.embedding_dim)


@backbone("mlp", source="one hidden layer of 512 units, batch normalization, ReLU", inputs=VECTORS)
def mlp(problem: Problem) -> nn.Module:
    """A hidden layer of 512 units, normalized over the batch, and a linear one."""
    from lossbench.backbones.vectors import mlp

    return mlp(problem.input_shape[0], problem.embedding_dim)


@backbone(
    "residual", source="He et al. 2016, arXiv:1603.05027, of linear layers; starts as the identity", inputs=VECTORS
)
def residual(problem: Problem) -> nn.Module:
    """The vector and what a hidden layer of 512 units adds to it, nothing at first."""
    from lossbench.backbones.vectors import Residual

    return Residual(problem.input_shape[0], problem.embedding_dim, generator=problem.generator)


@backbone("pca", source="Jegou and Chum 2012, doi:10.1007/978-3-642-33709-3_55", inputs=VECTORS)
def pca(problem: Problem) -> nn.Module:
    """The first D principal components of the training samples, whitened: a baseline, fitted and not trained."""
    from lossbench.backbones.fitted import Whitening

    return Whitening(problem.input_shape[0], problem.embedding_dim)


@backbone("lda", source="Fisher 1936; scikit-learn's LinearDiscriminantAnalysis", inputs=VECTORS)
def lda(problem: Problem) -> nn.Module:
    """At most D linear discriminants of the training classes: a baseline, fitted and not trained."""
    from lossbench.backbones.fitted import Discriminants

    return Discriminants(problem.input_shape[0], min(problem.embedding_dim, problem.num_classes - 1))

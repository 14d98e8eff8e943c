"""The built-in data sets as plugins: name, source, license, citation, protocols; nothing is loaded here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossbench.plugins import dataset

if TYPE_CHECKING:
    from lossbench.datasets.dataset import Dataset, Request


@dataset(
    "digits",
    source="shipped with scikit-learn: UCI Optical Recognition of Handwritten Digits, its test part",
    license="CC BY 4.0",
    citation="Alpaydin and Kaynak 1998, doi:10.24432/C50P49",
    protocols=("closed-set", "open-set"),
)
def digits(request: Request) -> Dataset:
    """scikit-learn's 1,797 handwritten digits, 8 x 8 grey, 10 classes; open-set is a technical case."""
    from lossbench.datasets import digits

    return digits.load(request)


@dataset(
    "glyphs",
    source="rendered from the DejaVu and STIX typefaces that matplotlib ships",
    license="Bitstream Vera and STIX font licenses",
    citation="this benchmark",
    protocols=("open-set", "closed-set", "query-gallery"),
)
def glyphs(request: Request) -> Dataset:
    """Letters of 12 to 16 typefaces, 28 x 28 grey: learn on Latin, test on Greek."""
    from lossbench.datasets import glyphs

    return glyphs.load(request)


@dataset(
    "glosses",
    source="definitions of WordNet 3.0, encoded by all-MiniLM-L6-v2; shipped with lossbench",
    license="WordNet 3.0 license; the encoder is Apache-2.0",
    citation="Fellbaum 1998, WordNet: An Electronic Lexical Database; Wang et al. 2020, arXiv:2002.10957",
    protocols=("open-set", "closed-set"),
)
def glosses(request: Request) -> Dataset:
    """25,794 dictionary definitions as vectors of 128 dimensions, 1,410 classes: the kinds of a noun."""
    from lossbench.datasets import glosses

    return glosses.load(request)


@dataset(
    "mnist",
    source="https://ossci-datasets.s3.amazonaws.com/mnist, as published at yann.lecun.com/exdb/mnist",
    license="CC BY-SA 3.0",
    citation="LeCun et al. 1998, doi:10.1109/5.726791",
    protocols=("closed-set", "open-set"),
)
def mnist(request: Request) -> Dataset:
    """70,000 handwritten digits, 28 x 28 grey, 10 classes."""
    from lossbench.datasets import idx

    return idx.load("mnist", request)


@dataset(
    "fashion-mnist",
    source="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    license="MIT",
    citation="Xiao et al. 2017, arXiv:1708.07747",
    protocols=("closed-set", "open-set"),
)
def fashion_mnist(request: Request) -> Dataset:
    """70,000 photographs of clothes, 28 x 28 grey, 10 classes."""
    from lossbench.datasets import idx

    return idx.load("fashion-mnist", request)


@dataset(
    "omniglot",
    source="https://github.com/brendenlake/omniglot",
    license="MIT",
    citation="Lake et al. 2015, doi:10.1126/science.aab3050",
    protocols=("open-set", "closed-set"),
)
def omniglot(request: Request) -> Dataset:
    """1,623 handwritten characters x 20, 105 x 105 grey: learn on 24 alphabets, test on 20 others."""
    from lossbench.datasets import omniglot

    return omniglot.load(request)


@dataset(
    "lfw",
    source="http://vis-www.cs.umass.edu/lfw, deep-funneled",
    license="for research; photographs remain their owners'",
    citation="Huang et al. 2007, UMass TR 07-49; Huang et al. 2012 (deep funneling)",
    protocols=("verification", "open-set"),
)
def lfw(request: Request) -> Dataset:
    """13,233 photographs of 5,749 people, 128 x 128 grey, with pairs to verify."""
    from lossbench.datasets import lfw

    return lfw.load(request)


@dataset(
    "cifar10",
    source="https://www.cs.toronto.edu/~kriz/cifar.html",
    license="none stated",
    citation="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
    protocols=("closed-set", "open-set"),
)
def cifar10(request: Request) -> Dataset:
    """60,000 photographs, 32 x 32 in colour, 10 classes."""
    from lossbench.datasets import cifar

    return cifar.load("cifar10", request)


@dataset(
    "cifar100",
    source="https://www.cs.toronto.edu/~kriz/cifar.html",
    license="none stated",
    citation="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
    protocols=("closed-set", "open-set"),
)
def cifar100(request: Request) -> Dataset:
    """60,000 photographs, 32 x 32 in colour, 100 fine classes."""
    from lossbench.datasets import cifar

    return cifar.load("cifar100", request)


@dataset("folder", source="your own pictures", protocols=("closed-set", "open-set", "query-gallery"))
def folder(request: Request) -> Dataset:
    """`folder:PATH`: pictures, one sub-folder a class; or such folders inside `train/`, `val/`, `test/`."""
    from lossbench.datasets import folder

    return folder.load(request)


@dataset("csv", source="your own pictures", protocols=("closed-set", "open-set", "query-gallery"))
def csv(request: Request) -> Dataset:
    """`csv:FILE`: pictures by rows of `path,label[,split]`."""
    from lossbench.datasets import table

    return table.load(request)


@dataset("features", source="vectors of your own", protocols=("closed-set", "open-set", "query-gallery"))
def features(request: Request) -> Dataset:
    """`features:FILE`: vectors that a model has made, `features` and `labels` in a `.npz` or `.parquet`."""
    from lossbench.datasets import features

    return features.load(request)


@dataset(
    "huggingface",
    source="a data set of Hugging Face that you saved",
    license="the publisher's",
    citation="Lhoest et al. 2021, EMNLP demonstrations",
    protocols=("closed-set", "open-set"),
)
def huggingface(request: Request) -> Dataset:
    """`huggingface:PATH`: a folder that `datasets` wrote by `save_to_disk`, with a picture and a class in each row."""
    from lossbench.datasets import huggingface

    return huggingface.load(request)


# layouts of owners who ask for an agreement: see `layouts`


@dataset(
    "cub200",
    source="https://www.vision.caltech.edu/datasets/cub_200_2011, by hand",
    license="for research; photographs remain their owners'",
    citation="Wah et al. 2011, Caltech CNS-TR-2011-001",
    protocols=("open-set",),
)
def cub200(request: Request) -> Dataset:
    """11,788 photographs of 200 kinds of birds: learn on the first hundred, test on the others."""
    from lossbench.datasets import birds

    return birds.load(request)


@dataset(
    "cars196",
    source="https://ai.stanford.edu/~jkrause/cars/car_dataset.html, by hand",
    license="for research",
    citation="Krause et al. 2013, doi:10.1109/ICCVW.2013.77",
    protocols=("open-set",),
)
def cars196(request: Request) -> Dataset:
    """16,185 photographs of 196 models of cars: learn on the first 98, test on the others."""
    from lossbench.datasets import cars

    return cars.load(request)


@dataset(
    "sop",
    source="https://cvgl.stanford.edu/projects/lifted_struct, by hand",
    license="for research",
    citation="Song et al. 2016, arXiv:1511.06452",
    protocols=("open-set",),
)
def sop(request: Request) -> Dataset:
    """120,053 photographs of 22,634 products, two lists of them: learn on one, test on the other."""
    from lossbench.datasets import products

    return products.load(request)


@dataset(
    "inshop",
    source="https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html, by hand",
    license="for research, by agreement",
    citation="Liu et al. 2016, doi:10.1109/CVPR.2016.124",
    protocols=("query-gallery", "open-set"),
)
def inshop(request: Request) -> Dataset:
    """52,712 photographs of 7,982 clothes, those of test as queries and gallery."""
    from lossbench.datasets import clothes

    return clothes.load(request)


@dataset(
    "market1501",
    source="https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html, by hand",
    license="for research",
    citation="Zheng et al. 2015, doi:10.1109/ICCV.2015.133",
    protocols=("query-gallery", "open-set"),
)
def market1501(request: Request) -> Dataset:
    """32,217 boxes of 1,501 people and of distractors by six cameras, those of test as queries and gallery."""
    from lossbench.datasets import pedestrians

    return pedestrians.load(request)

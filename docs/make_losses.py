"""Write docs/losses.md from the registered losses: `python docs/make_losses.py`."""

from __future__ import annotations

from pathlib import Path

from lossbench.losses.catalogue import NOT_IN_CATALOGUE
from lossbench.plugins import Choice, Float, Plugin, Range, registry

PAGE = Path(__file__).with_name("losses.md")
FAMILIES = {
    "builtin": "Losses written here, and those that every ablation compares",
    "centers": "Relatives of center loss, written here",
    "heads": "Heads and proxies",
    "pairwise": "Pairs and tuples",
    "rankings": "Rankings",
}
BEFORE = """# Losses

Every loss below is a recipe by its name, and a term of others: `softmax+island`, `triplet+tcm@balanced`. This page is
written by `python docs/make_losses.py` from what the losses declare. `lossbench list losses` names them,
`lossbench check NAME` shows how one behaves.

A parameter is given as *default* [searched range], `log` where the search is logarithmic; one in parentheses is set by
experiments and not searched. `lr` is a parameter of every recipe. Where two losses of a recipe have a parameter of one
name, the later one is followed by the name of its loss: `margin_triplet` in `arcface+triplet`.

**Options.** `miner` picks tuples from the batch. `memory = n` compares the batch with the n latest embeddings
(cross-batch memory, arXiv:1912.06798). Both are parameters, so that an experiment sets them like any other and may have
the same loss with and without:

```toml
recipes = ["contrastive", { name = "contrastive-memory", use = "contrastive" }]

[params."contrastive-memory"]
memory = 1024
```

**Outside lossbench.** The losses written here are plain modules:

```python
from lossbench.losses import CenterLoss, IslandLoss, RingLoss

center = CenterLoss(num_classes=10, embedding_dim=64, alpha=0.5)  # its centers move in forward, in training mode
loss = cross_entropy + 0.003 * center(embeddings, labels)
```

`CenterLoss`, `TripletCenterLoss` and `IslandLoss` keep their centers in a buffer that moves by the paper's rule on
every call in training mode: give the optimizer nothing of them. `ContrastiveCenterLoss`, `RingLoss` and `SoftmaxLoss` have
parameters that the optimizer trains, as have `AdaFaceLoss` and `MagFaceLoss`. `ContrastiveLoss` and `TripletLoss` have no state.

**Known deviations.** A loss that cannot pass a check of `lossbench check` says so, with its reason, in the last column.
"""
AFTER = """## Where the library is not taken as it is

The rest is built by pytorch-metric-learning as it stands. `lossbench/losses/library.py` and `tuplets.py` say more.

| loss | what differs, and why |
|---|---|
| `ntxent`, `tuplet-margin`, `lifted`, `histogram` | same values, in time and memory quadratic in the batch; the library forms pairs of pairs, or all triplets |
| `smoothap` | computed from the labels. The library needs a sorted batch and takes the number of samples of a class for the number of classes, so that it groups samples of different classes wherever the two differ |
| `dynamic-soft-margin` | the histogram is a buffer without a graph; the library's second training step fails |
| `soft-triple` | its regularizer compares the centers of one class only; the library forms all pairs of all centers |
| `p2sgrad` | proxies are normalized inside the graph; the library overwrites them on every call |
| `proxy-nca` | has logits that are largest for the nearest proxy; the library's are distances |
| `n-pairs` | inner products with regularized lengths, as in the paper; the library normalizes |
| `angular` | negatives are normalized too, as in the paper; an embedding of length zero gets no gradient |
| `snr-contrastive` | pairs whose anchor is constant or zero are left out; in the library one such row makes the loss infinite and every gradient NaN |
| `nca` | a batch without a positive pair costs nothing; the library returns NaN |
| `arcface`, `subcenter-arcface`, `sphereface`, `large-margin-softmax`, `tuplet-margin`, `histogram` | cosines are held 1e-6 inside [-1, 1]: the gradient of the angle between equal embeddings is infinite |

## Not in the catalogue

| class | reason |
|---|---|
"""


def page() -> str:
    """The page as text."""
    plugins = [registry.find("loss", name) for name in registry.names("loss")]
    parts = [BEFORE]
    for family, title in FAMILIES.items():
        rows = [_row(plugin) for plugin in plugins if plugin.builtin and plugin.file.stem == family]
        head = "| name | what it does | parameters | batches | source | deviations |\n|---|---|---|---|---|---|\n"
        parts.append(f"## {title}\n\n{head}" + "\n".join(rows) + "\n")
    excluded = "\n".join(f"| `{name}` | {reason} |" for name, reason in sorted(NOT_IN_CATALOGUE.items()))
    return "\n".join(parts) + "\n" + AFTER + excluded + "\n"


def _row(plugin: Plugin) -> str:
    params = "<br>".join(_parameter(name, plugin.defaults[name], each) for name, each in plugin.space.items()) or "-"
    deviations = "<br>".join(f"{check}: {reason}" for check, reason in plugin.deviations.items()) or "-"
    return (
        f"| `{plugin.name}` | {plugin.summary} | {params} | {plugin.sampler} | {_link(plugin.source)} | {deviations} |"
    )


def _parameter(name: str, default: object, allowed: Range) -> str:
    if isinstance(allowed, Choice):
        text = f"`{name}` {default} of {', '.join(allowed.options)}"
        return text if allowed.tune else f"({text})"
    log = " log" if isinstance(allowed, Float) and allowed.log else ""
    text = f"`{name}` {default:g} [{allowed.low:g}, {allowed.high:g}]{log}"
    return text if allowed.tune else f"({text})"


def _link(source: str) -> str:
    """DOIs and arXiv numbers as links."""
    words = []
    for word in source.split(" "):
        bare = word.rstrip(",")
        if bare.startswith("arXiv:"):
            word = word.replace(bare, f"[{bare}](https://arxiv.org/abs/{bare.removeprefix('arXiv:')})")
        elif bare.startswith("doi:"):
            word = word.replace(bare, f"[{bare}](https://doi.org/{bare.removeprefix('doi:')})")
        words.append(word)
    return " ".join(words)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)

"""Sentences made from test results. No other place in the report compares recipes in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from lossbench.report.evidence.comparisons import COMPACTNESS, QUALITY, Evidence, Figure, distance_figures
from lossbench.report.evidence.material import Material
from lossbench.report.sections import variance
from lossbench.report.sections.verdict import detectable_text, effect_text, listed
from lossbench.report.writing import formats
from lossbench.specification.task import named_in
from lossbench.statistics.effects import Effect
from lossbench.statistics.looks import LEAST_RANKED
from lossbench.statistics.verdicts import Comparison, PairVerdict

TUNED = "at this tuned setting"
GIVEN = "at these settings, which were not tuned"
TESTED = {
    "closed-set": "on these test images of the classes that were trained",
    "open-set": "on these test classes, which no training saw",
    "query-gallery": "on these queries and this gallery of classes which no training saw",
    "verification": "on these test pairs of people whom no training saw",
}
INTERVALS = (
    "Intervals beside a verdict are at the pair's own level, so that they agree with it; those in tables are the "
    "unadjusted 95 % ones."
)
FEW = 4  # recipes that are each worth a sentence
MANY = 12  # recipes of which sentences give names only; their effects stand in the ranking
_WORDS = {
    "better": "is better than",
    "worse": "is worse than",
    "equivalent": "is equivalent to",
    "indistinguishable": "could not be told from",
    "undecided": "cannot be compared yet with",
    "untested": "was not tested against",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A sentence with the question it answers and its standing; `about` is a task.

    `section` is where the page has it: with the `effects`, with `compactness`, or folded away with the `tests`.
    """

    about: str
    question: str
    text: str
    confirmatory: bool
    section: Literal["effects", "compactness", "tests"] = "tests"


def scope(material: Material, task: str | None = None) -> str:
    """Where every statement about a task holds; without one, what holds of all tasks."""
    if material.unit == "seed":
        return "for these embeddings, on these samples"
    tested = {_tested(each) for each in material.tasks} if task is None else {_tested(task)}
    setting = TUNED if material.tuned else GIVEN
    return f"{setting}, {tested.pop()}" if len(tested) == 1 else f"{setting}, on the test data of each task"


def holds(material: Material, task: str) -> str:
    """The same as a sentence, for what it limits."""
    return f"Holds {scope(material, task)}."


def _tested(task: str) -> str:
    return TESTED.get(named_in(task)[1], "on these test data")


def findings(evidence: Evidence, task: str) -> list[Finding]:
    """Everything said of a task beside its answer."""
    makers = (_against_reference, _other_classes, _baselines, _centers, _other_space)
    return [finding for make in makers for finding in make(evidence, task)]


def words(pair: PairVerdict) -> str:
    """`a is better than b`: the verdict of a pair in words."""
    text = f"{pair.a} {_WORDS[pair.verdict]} {pair.b}"
    return text + (" by less than matters in practice" if pair.negligible else "")


def _against_reference(evidence: Evidence, task: str) -> Iterator[Finding]:
    """The reference recipe against each other one, grouped by verdict."""
    comparison, reference = evidence.primary[task], evidence.material.reference
    if comparison is None or not _has(comparison, reference):
        return
    others = [standing.recipe for standing in comparison.ranking if standing.recipe != reference]
    pairs = [comparison.pair(name, reference) for name in others]
    sentences = []
    for verdict in ("better", "worse", "equivalent"):
        group = [pair for pair in pairs if pair.verdict == verdict]
        if group:
            plural = " are " if len(group) > 1 else " is "
            what = {"better": "better than", "worse": "worse than", "equivalent": "equivalent to"}[verdict]
            found = _named(group, among=len(pairs))
            sentences.append(f"{found}{plural}{what} {reference}.")
    same = [pair for pair in pairs if pair.verdict == "indistinguishable"]
    if same:
        found = _named(same, among=len(pairs))
        sentences.append(f"Not told from {reference}: {found}; {detectable_text(same)}.")
    if sentences:
        yield Finding(
            about=task,
            question=f"How do the recipes compare with {reference} in MAP@R?",
            text=" ".join(sentences),
            confirmatory=True,
        )


def _other_classes(evidence: Evidence, task: str) -> Iterator[Finding]:
    """The second question, with its own interval, where that is wider."""
    found = variance.class_interval(evidence, task)
    if found is None:
        return
    pair, low, high = found
    effect = pair.effect
    closed = named_in(task)[1] == "closed-set"
    same, other = formats.interval(effect.low, effect.high), formats.interval(low, high)
    yield Finding(
        about=task,
        question=f"Would it hold on other test {'images' if closed else 'classes'}?",
        text=f"{pair.a} against {pair.b}: {formats.signed(effect.mean)}. Another study on this test set: "
        f"{same}. With other test {'images' if closed else 'classes'} of the same kind too: "
        f"{'the same to these digits' if same == other else f'{other}, which is wider'} (95 % intervals, unadjusted; "
        f"jackknife over {'groups of images' if closed else 'classes'}).",
        confirmatory=False,
    )


def _named(pairs: list[PairVerdict], *, among: int) -> str:
    """The first recipes of pairs, with their effects; of many the ranking has those."""
    return listed([pair.a if among > MANY else f"{pair.a} ({effect_text(pair)})" for pair in pairs])


def _baselines(evidence: Evidence, task: str) -> Iterator[Finding]:
    """Recipes that were not shown to be above a baseline: training or not, that is worth knowing."""
    comparison = evidence.comparison(task, QUALITY[0], baselines=True)
    if comparison is None:
        return
    for baseline in evidence.material.baselines:
        if not _has(comparison, baseline):
            continue
        pairs = [
            comparison.pair(name, baseline)
            for name in evidence.material.recipes
            if _has(comparison, name) and comparison.pair(name, baseline).verdict != "undecided"
        ]
        if not pairs:
            continue
        short = [pair for pair in pairs if pair.verdict != "better"]
        text = f"Every recipe is better than the baseline {baseline}."
        if len(short) > MANY:
            text = f"{_named(short, among=len(short))} were not shown to be better than the baseline {baseline}."
        elif short:
            text = " ".join(f"{words(pair)} ({effect_text(pair)}).".replace(" .", ".") for pair in short)
        elif len(pairs) < len(evidence.material.recipes):
            text = f"Every recipe with a score is better than the baseline {baseline}."
        yield Finding(about=task, question=f"Is training worth it against {baseline}?", text=text, confirmatory=False)


def _centers(evidence: Evidence, task: str) -> Iterator[Finding]:
    """Does a centre term make classes more compact, and does it pay in MAP@R? For a few recipes; more are a sweep."""
    material = evidence.material
    pulling = [
        recipe
        for recipe in material.recipes
        if recipe != material.reference and any(loss.startswith("center") for loss in material.losses(recipe))
    ]
    for recipe in pulling if len(pulling) <= FEW else []:
        compact = [
            sentence
            for space in ("sphere", "euclidean")
            for figure in distance_figures(space)
            if figure.column.rpartition(".")[2] in COMPACTNESS
            and (sentence := _compactness(evidence, task, recipe, figure, space))
        ]
        paid = _pair(evidence.primary[task], recipe, material.reference)
        if not compact or paid is None:
            continue
        yield Finding(
            about=task,
            question=f"Does {recipe} make features more compact than {material.reference}, and does it pay?",
            text=f"{' '.join(compact)} In MAP@R {words(paid)} ({effect_text(paid)}).",
            confirmatory=False,
            section="compactness",
        )


def _compactness(evidence: Evidence, task: str, recipe: str, figure: Figure, space: str) -> str:
    pair = _pair(evidence.comparison(task, figure), recipe, evidence.material.reference)
    if pair is None or pair.verdict == "undecided":
        return ""
    said = {"better": "more compact", "worse": "less compact"}.get(pair.verdict, "no difference shown")
    where = "on the sphere" if space == "sphere" else "raw"
    return f"By {figure.label} {where}: {said} ({effect_text(pair)})."


def _other_space(evidence: Evidence, task: str) -> Iterator[Finding]:
    """Where the raw space reverses a verdict of the sphere."""
    sphere, raw = (evidence.comparison(task, figure) for figure in QUALITY[:2])
    if sphere is None or raw is None:
        return
    reversed_ = []
    for pair in sphere.pairs:
        other = _pair(raw, pair.a, pair.b)
        if other is not None and {pair.verdict, other.verdict} == {"better", "worse"}:
            first = pair if pair.verdict == "better" else pair.reversed()
            raw_pair = raw.pair(first.a, first.b)
            reversed_.append(f"{words(first)} on the sphere, and worse in the raw space ({effect_text(raw_pair)})")
    text = "No verdict on a pair is reversed when embeddings are compared raw instead of on the sphere."
    if reversed_:
        text = "The raw space reverses " + "; ".join(reversed_) + "."
    yield Finding(about=task, question="Does the raw space change the answer?", text=text, confirmatory=False)


def verdict_word(effect: Effect, p: float, alpha: float) -> str:
    """What a single paired test says of the first side: `higher`, `lower`, `identical`, or that nothing was shown."""
    if effect.identical:
        return "identical"
    if effect.n < LEAST_RANKED:
        return "undecided"
    if p < alpha:
        return "higher" if effect.mean > 0 else "lower"
    return "no difference shown"


def _pair(comparison: Comparison | None, a: str, b: str) -> PairVerdict | None:
    if comparison is None or not (_has(comparison, a) and _has(comparison, b)):
        return None
    return comparison.pair(a, b)


def _has(comparison: Comparison, name: str) -> bool:
    return any(standing.recipe == name for standing in comparison.ranking)


def verdict_cell(pair: PairVerdict | None) -> tuple[str, str]:
    """A pair's verdict for a table, and its mark."""
    if pair is None:
        return formats.NONE, "muted"
    mark = {"better": "up", "worse": "down"}.get(pair.verdict, "muted")
    return pair.verdict + (" (negligible)" if pair.negligible else ""), mark

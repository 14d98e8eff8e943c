"""What the words of a report mean: written here once, for the page, the Markdown and the tables of docs/protocol.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Term:
    """A word and what it means.

    Attributes:
        name: as sentences use it.
        text: the definition, in plain characters.
        figures: its names in `results.csv`, without space and split.
        math: the same as a formula, for the documents.
        aside: the last column of its table there: the wanted direction, or what becomes of a score.
        heads: further headers of columns that it explains; one that ends with a star stands for all that begin so.
    """

    name: str
    text: str
    figures: tuple[str, ...] = ()
    math: str = ""
    aside: str = "-"
    heads: tuple[str, ...] = ()

    @property
    def plain(self) -> str:
        """The definition without the marks of Markdown."""
        return self.text.replace("`", "")

    @property
    def id(self) -> str:
        """Its place on the page."""
        plain = self.name.lower().replace("′", "-prime").replace("π", "pi").replace("ρ", "rho")
        return "word-" + re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


DISTANCES = (
    Term("intra mean", "mean distance of a sample from the mean of its class", ("intra_mean",),
         r"$\lVert x_i - \mu_{y_i} \rVert$", heads=("intra-class distance",)),
    Term("intra variance", "mean squared distance of a sample from the mean of its class", ("intra_variance",),
         r"$\lVert x_i - \mu_{y_i} \rVert^2 = \operatorname{tr} S_w$"),
    Term("inter mean", "mean distance between the means of two different classes", ("inter_mean",),
         r"$\lVert \mu_a - \mu_b \rVert$"),
    Term("inter nearest", "mean over classes of the distance to the nearest other class mean", ("inter_nearest",),
         heads=("inter-class distance",)),
    Term("intra/inter", "intra mean divided by inter nearest: how far samples stray for the room that they have",
         ("intra_inter_ratio",), aside="lower"),
    Term("scatter ratio", "scatter of samples around their class means, divided by that of the class means",
         ("scatter_ratio",), r"$\operatorname{tr} S_w / \operatorname{tr} S_b$, "
         r"$S_b = \frac1N \sum_c N_c (\mu_c - \mu)(\mu_c - \mu)^\top$", "lower"),
    Term("pair means", "mean distance over all same-class, all different-class pairs",
         ("pair_intra_mean", "pair_inter_mean"), "$i < j$"),
    Term("d′", "distance between the means of same-class and different-class pairs, in their standard deviation",
         ("d_prime",), r"$\lvert \bar d_{inter} - \bar d_{intra} \rvert / \sqrt{(v_{inter} + v_{intra})/2}$ over those "
         "pairs, population variances", "higher"),
    Term("π ratio", "mean distance of same-class pairs divided by inter mean, after Roth et al. 2020 "
         "(arXiv:2002.08473); their code averages per class in cosine space, so values are not comparable",
         ("pi_ratio",), "`pair_intra_mean` / `inter_mean`", "lower"),
    Term("ρ", "how unevenly the embeddings fill their directions; 0 is evenly", ("rho",),
         r"$\mathrm{KL}(u \,\Vert\, s)$, $u$ uniform, $s$ the L1-normalized singular values of the uncentered "
         "embeddings"),
    Term("effective rank", "how many directions the embeddings fill", ("effective_rank",),
         r"$\exp(\text{entropy of } s)$"),
)  # fmt: skip
RETRIEVAL = (
    Term("MAP@R", "of a sample's R nearest neighbors, R being the number of others of its class, the share that is of "
         "its class, early places counting more; mean over samples, at most 1 (Musgrave et al. 2020)", ("map_at_r",),
         r"$\frac1R \sum_{i \le R} P(i)\,\mathrm{rel}(i)$", heads=("MAP@R, raw",)),
    Term("R-precision", "share of the R nearest neighbors that is of the sample's class", ("r_precision",)),
    Term("P@1", "share of samples whose nearest neighbor is of their class", ("precision_at_1",)),
    Term("R@k", "share of samples with one of their class among the k nearest neighbors",
         ("recall_at_1", "recall_at_2", "recall_at_4", "recall_at_8"), heads=("R@1", "R@2", "R@4", "R@8")),
)  # fmt: skip
GALLERY = (
    Term("mAP", "precision at the rank of each match, mean over all matches of a query in the gallery, then over "
         "queries", ("mean_average_precision",), r"$\frac1R \sum_i P(i)\,\mathrm{rel}(i)$ over the whole ranking"),
    Term("CMC@k", "share of queries with a match among the k first of the gallery",
         ("cmc_at_1", "cmc_at_5", "cmc_at_10"), heads=("CMC@1", "CMC@5", "CMC@10")),
)  # fmt: skip
VERIFICATION = (
    Term("ROC AUC", "chance that a same-class pair is nearer than a different-class pair; a tie counts half",
         ("auc",), "the area under the ROC"),
    Term("EER", "the error at the threshold at which as large a share of same-class pairs is refused as of "
         "different-class pairs accepted", ("eer",), "on the polygon of the ROC, FAR = 1 - TAR"),
    Term("TAR at FAR x", "share of same-class pairs accepted at the lowest threshold that accepts at most the share x "
         "of different-class pairs, without interpolation; empty where x times the different-class pairs is below 10",
         ("tar_at_far_x",), "$x$ = 0.1, 0.01, 0.001, 0.0001", heads=("TAR at FAR *",)),
)  # fmt: skip
CLASSIFICATION = (
    Term("head accuracy", "share of samples whose own logit is larger than every other, for the first loss that has a "
         "head", ("head_accuracy",)),
    Term("nearest mean", "share of test samples nearer to their class's mean over the training split than to any other",
         ("nearest_mean_accuracy",)),
    Term("5-NN", "5 nearest training samples vote; a drawn vote goes to the class of the nearest", ("knn_accuracy",)),
)  # fmt: skip
OTHER_SCORES = (
    Term("fold accuracy", "share of the test fold's pairs judged rightly at the threshold that judges most pairs of "
         "the validation fold rightly", ("fold_accuracy",)),
    Term("n-way k-shot", "mean accuracy over 600 fixed episodes of n test classes, each known by the mean of k samples",
         heads=("5-way 1-shot", "5-way 5-shot", "20-way 1-shot", "20-way 5-shot")),
    Term("sphere", "the embeddings scaled to length 1; everything that is compared is compared there unless it says "
         "raw"),
    Term("raw", "the embeddings as the network gives them; their distances shrink when a loss merely scales them"),
)  # fmt: skip
VERDICTS = (
    Term("untested", "dropped before the first look, or outside the family of a catalogue"),
    Term("undecided", "fewer than four common studies, or before the first look; of a claim: neither shown nor "
         "refuted"),
    Term("better, worse", "adjusted p < 0.05", heads=("better / worse", "verdict", "verdict on a")),
    Term("negligible", "better or worse, and equivalence was shown too"),
    Term("equivalent", "within the region of practical equivalence by two one-sided tests, at what each look may "
         "spend: 5 % a pair over all looks, not adjusted over pairs"),
    Term("indistinguishable", "neither a difference nor its absence was shown"),
)  # fmt: skip
STATUSES = (
    Term("ok", "trained to the end", aside="at the chosen epoch"),
    Term("diverged", "a loss, parameter, buffer or validation embedding is not finite after an epoch; training stops, "
         "`diverged_epoch` says when",
         aside="at the highest finite epoch, epoch 0 included; stays in every pair"),
    Term("collapsed", "after the last epoch hardly any variance is left on the sphere of validation, or the training "
         "cross-entropy is stuck at chance",
         math=r"total variance below $10^{-4}$, or the epoch's mean within 1 % of $\ln C$",
         aside="at the chosen epoch; stays in every pair"),
    Term("failed", "it raised, ran past `time_limit_s`, or its worker died three times",
         aside="none; the comparison is marked incomplete"),
    Term("missing", "planned, not there yet", aside="none; the report calls itself partial"),
)  # fmt: skip
WORK = (
    Term("recipe", "what is compared: losses, sampler and searched parameters; all else is the same for every recipe"),
    Term("task", "a data set under a protocol"),
    Term("closed-set", "test holds other samples of the classes that were trained"),
    Term("open-set", "test holds classes that no training saw"),
    Term("query-gallery", "the same, and queries search a gallery, in which samples of a query's own class and group, "
         "such as its camera, are left out"),
    Term("study", "the whole work once: a deal of training and validation, a search for every recipe, the choice, the "
         "final runs; the unit of every test", heads=("studies",)),
    Term("final run", "a training of the chosen point with a fresh seed; those of a study are averaged",
         heads=("seed (share)",)),
    Term("baseline", "what no recipe trained: the network as initialized, or the samples as they are; outside the "
         "family of tests"),
    Term("untrained", "the network as initialized"),
    Term("pixels", "the samples themselves as embeddings"),
    Term("reference", "the recipe that effects are shown against: `softmax` where it takes part, else the first"),
)  # fmt: skip
TESTS = (
    Term("effect", "mean paired difference over studies", heads=("vs *", "a − b", "difference (paired)",
         "tuned − default")),
    Term("95 % interval", "where the mean over repetitions of the whole work is to be expected; of this figure alone, "
         "not adjusted for the number of pairs",
         heads=("95 % interval (unadjusted)", "95 % interval (of the change)", "95 % interval (over rounds)",
                "95 % interval (stratified bootstrap)")),
    Term("interval at this pair's own level", "the interval that agrees with the verdict: it excludes zero exactly "
         "where the pair is better or worse"),
    Term("p", "chance of a mean difference as large if there were none, by the paired t test",
         heads=("p (t test)", "p (unadjusted)")),
    Term("adjusted p", "p after correction for all pairs of recipes and all looks; a difference is called where it is "
         "below 0.05", heads=("p (adjusted)", "p (Holm, over scores or times)")),
    Term("joint sign flip", "p of the largest of all pairs when the signs of whole studies are flipped; it decides "
         "nothing", heads=("p (joint sign flip)",)),
    Term("look", "a number of studies at which pairs are tested: 7, 9, 12, 18, 24, 36, ..., each with a fixed share of "
         "the 5 %, so that adding studies spends nothing that was not set aside"),
    Term("region of practical equivalence", "differences of test MAP@R too small to matter: ±0.005"),
    Term("leading group", "the highest mean and every recipe not shown to be worse than it"),
    Term("tie group", "recipes that share a letter were not shown to differ", heads=("group (tie group)",
         "not told apart")),
    Term("found with 80 % power", "the difference that as many studies find four times out of five, at the strictest "
         "level", heads=("found (with 80 % power)",)),
    Term("studies needed", "as a range of looks: to find a difference of the observed size, which is optimistic where "
         "it was picked for its size, or to show that two equal recipes are equivalent",
         heads=("to differ", "to be equal")),
    Term("confirmatory", "asked beforehand and corrected for all its tests: test MAP@R on the sphere"),
    Term("exploratory", "everything else: a description, and a hint for the next experiment"),
    Term("trained to the end", "twice the epochs change the difference of two recipes by less than its own interval: "
         "holds, moves, or cannot tell", heads=("comparison", "twice the epochs", "may move by")),
    Term("standard error", "standard deviation of the mean over repetitions", heads=("standard error (of MAP@R)",)),
    Term("share of variance", "of the printed effect: study (search and deal together), seed (final runs within a "
         "study), test classes (left out in turn; no part of the intervals over studies)",
         heads=("study (share)", "test classes (share)")),
    Term("half the interval", "what it would cost to halve the interval, beyond what was spent, for the recipe alone",
         heads=("half the interval (CPU s, by more studies)",)),
    Term("post hoc", "stated or changed after a final run of this folder was stored", heads=("standing",)),
    Term("supported, refuted", "of a claim: the difference was shown to be on the claimed side of the smallest effect "
         "that matters, or on the other side"),
    Term("unanswerable", "of a claim: a recipe, task or figure that it needs is not there, or training was not shown "
         "to be long enough"),
    Term("average rank", "place of a recipe by mean MAP@R, 1 highest, the mean over data sets"),
    Term("inter-quartile mean", "mean of the middle half of all runs (Agarwal et al. 2021)"),
    Term("chance of improvement", "how often a run of the recipe is above a run of the reference",
         heads=("above *",)),
)  # fmt: skip
COST = (
    Term("bare step", "a training step of the network alone, without any loss: the unit of cost, 1.0",
         heads=("step (× the backbone's, ↓)",)),
    Term("step", "sampling aside, one forward and backward pass and the optimizer's move, in the cost probe",
         heads=("step (ms)", "beyond the backbone")),
    Term("cost probe", "recipes take turns on an idle machine, a step each in every round, so that rounds are pairs"),
    Term("equal images", "after as many training samples for every recipe: all its epochs"),
    Term("equal time", "within the seconds that the quickest recipe takes for all its epochs"),
    Term("peak memory", "the most that the run's process held, or on a GPU its tensors"),
    Term("tuples", "pairs or triplets formed in a step; active: the share of them with a loss above zero",
         heads=("tuples (a step)", "active (share of tuples)")),
)  # fmt: skip
TUNING = (
    Term("trial", "one point of a search, trained once; it sees validation only", heads=("trials", "trial (its "
         "validation MAP@R)")),
    Term("default", "the recipe's documented parameters: trial 0 of every search, and final runs in the first two "
         "studies", heads=("default (MAP@R untuned)", "default (test MAP@R)", "default (chosen)")),
    Term("candidate", "a point that was tried again with fresh seeds before one was chosen",
         heads=("again (fresh candidates)",)),
    Term("optimism", "how much higher the chosen trial had scored than its fresh candidates: the score it was picked "
         "by"),
    Term("expected highest", "validation score of the highest of k trials drawn without replacement (after Dodge et "
         "al. 2019)", heads=("one trial", "all trials")),
    Term("trials to pass", "the smallest k whose expected highest score is at the reference's highest trial"),
    Term("importance", "which parameters separated the top quarter of the trials from the searched space "
         "(PED-ANOVA, arXiv:2304.10255); shares of a recipe sum to 100 %"),
    Term("troubles", "runs that diverged, collapsed or failed", heads=("status",)),
)  # fmt: skip
GROUPS: Mapping[str, tuple[Term, ...]] = {
    "The work": WORK,
    "Scores": (*RETRIEVAL, *GALLERY, *VERIFICATION, *CLASSIFICATION, *OTHER_SCORES),
    "Distances": DISTANCES,
    "Verdicts": VERDICTS,
    "Tests": TESTS,
    "Cost": COST,
    "Tuning": TUNING,
    "Runs": STATUSES,
}
TERMS = tuple(term for group in GROUPS.values() for term in group)


def of_header(header: str, label: str) -> Term | None:
    """The term that explains a column: by its header with the note, else by its label alone.

    >>> of_header("p (adjusted)", "p").name, of_header("vs softmax (paired effect)", "vs softmax").name
    ('adjusted p', 'effect')
    """
    exact, starts = _headers()
    return exact.get(header) or exact.get(label) or next((t for start, t in starts if label.startswith(start)), None)


def words(text: str) -> list[tuple[str, Term | None]]:
    """The text in pieces, each with the term that it names; of one that is named often, the first piece only.

    >>> [(piece, term.name if term else "") for piece, term in words("P@1 in 7 studies, P@1 again")]
    [('P@1', 'P@1'), (' in 7 ', ''), ('studies', 'study'), (', P@1 again', '')]
    """
    pieces: list[tuple[str, Term | None]] = []
    named, end = set(), 0
    pattern, terms = _spoken()
    for found in pattern.finditer(text):
        term = terms[found.group()]
        if term.name in named:
            continue
        named.add(term.name)
        pieces += [(text[end : found.start()], None), (found.group(), term)]
        end = found.end()
    return [piece for piece in (*pieces, (text[end:], None)) if piece[0]]


# Words of every day, which a sentence uses without meaning the term.
_UNSPOKEN = {"step", "raw", "sphere", "p", "effect", "default", "trial", "task", "look", "ok", "failed", "missing"}
_UNSPOKEN |= {"pixels", "recipe", "untrained", "importance", "better, worse", "supported, refuted", "R@k", "troubles"}
_UNSPOKEN |= {
    "standard error",
    "TAR at FAR x",
    "ρ",
    "reference",
    "5-NN",
    "untested",
    "comparison",
    "pair means",
    "CMC@k",
}


@cache
def _headers() -> tuple[dict[str, Term], list[tuple[str, Term]]]:
    exact = {head: term for term in TERMS for head in (term.name, *term.heads) if not head.endswith("*")}
    starts = [(head[:-1], term) for term in TERMS for head in term.heads if head.endswith("*")]
    return exact, starts


@cache
def _spoken() -> tuple[re.Pattern[str], dict[str, Term]]:
    """Names in sentences, longest first, and what they name; plurals too."""
    terms = {term.name: term for term in TERMS if term.name not in _UNSPOKEN}
    terms |= {f"{name}s": term for name, term in terms.items() if name.isalpha()} | {"studies": terms["study"]}
    names = "|".join(re.escape(name) for name in sorted(terms, key=len, reverse=True))
    return re.compile(rf"(?<![\w@/-])(?:{names})(?![\w@/+-])"), terms

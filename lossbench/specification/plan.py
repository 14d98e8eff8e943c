"""From an experiment to run specifications: names resolved, everything checked before anything runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from lossbench.plugins import Plugin, PluginError, registry
from lossbench.plugins.mistakes import SpecError
from lossbench.plugins.plugin import Input
from lossbench.specification import claims, necks, negatives
from lossbench.specification.experiment import OF_VECTORS, UNSEEDED, Experiment
from lossbench.specification.fingerprint import code_digest, library_versions
from lossbench.specification.parsing import toml_path
from lossbench.specification.recipes import TRUNK, Recipe, make_recipe, with_factor, with_params
from lossbench.specification.spec import Provenance, RunSpec, Start
from lossbench.specification.task import Task
from lossbench.specification.task_data import look_at
from lossbench.specification.training_settings import Training
from lossbench.specification.values import Value

DEFAULTS_UNTIL = 2  # studies whose final runs have the default point beside the chosen one
LONGER_RUNS = 2  # final runs of a study, at most, that are trained for twice the epochs too


class Counts(NamedTuple):
    """Runs of a study: those that see validation only, final ones, and final ones of twice the epochs."""

    trials: int
    finals: int
    longer: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A checked experiment: what `run_spec` needs to describe any run of it.

    Attributes:
        train_sizes, scored, pixels: training images of a task, its validation and test images, values in one of them;
            for the estimate of time.
        splits: part (train, val, test) of a task to its classes and samples, before any deal: deals keep the sizes.
        deals: tasks whose training and validation every study deals anew.
        folds: tasks of which a study is a fold, and how many they have.
        vectors: tasks whose samples are vectors.
        file_digest: SHA-256 of the experiment file; empty where there is no file.
        weights_file, weights: where the weights of `[pretrained]` lie, and their SHA-256; empty without.
        share: (k, n): only every n-th study is made, from the k-th on; others make the rest.
    """

    experiment: Experiment
    recipes: tuple[Recipe, ...]
    checksums: Mapping[Task, str]
    plugin_files: tuple[str, ...]
    train_sizes: Mapping[Task, int]
    scored: Mapping[Task, tuple[int, int]]
    pixels: Mapping[Task, int]
    splits: Mapping[Task, Mapping[str, tuple[int, int]]]
    deals: frozenset[Task]
    folds: Mapping[Task, int]
    vectors: frozenset[Task]
    file_digest: str = ""
    weights_file: str = ""
    weights: str = ""
    share: tuple[int, int] = (1, 1)

    def makes(self, study: int) -> bool:
        """Whether a study is of the share that is made here."""
        first, of = self.share
        return study % of == first % of

    def steps_an_epoch(self, task: Task) -> int:
        """Full batches in the training split of a task."""
        return self.train_sizes[task] // self.experiment.training.batch_size

    def with_epochs(self, epochs: int) -> Plan:
        """The same plan with a number in place of `epochs = "auto"`."""
        training = self.experiment.training.model_copy(update={"epochs": epochs})
        return replace(self, experiment=self.experiment.model_copy(update={"training": training}))

    def run_counts(self, task: Task, study: int, recipes: Sequence[Recipe]) -> Counts:
        """How many runs of each kind a study of a task with these recipes has, baselines among the final ones."""
        budget = self.experiment.budget
        searches = sum(bool(recipe.searched) for recipe in recipes)
        others = min(budget.candidates, budget.trials - 1)  # than the default, tried again beside it
        tried_again = (others + 1) * budget.candidate_seeds if others else 0
        finals = len(recipes) * budget.seeds * (2 if study <= DEFAULTS_UNTIL else 1)
        longer = len(recipes) * min(budget.seeds, LONGER_RUNS) if study <= budget.longer else 0
        return Counts(searches * (budget.trials + tried_again), finals + len(self.baseline_names(task, study)), longer)

    def baseline_names(self, task: Task, study: int) -> list[str]:
        """The baselines of a study, once for each of their runs: what no study changes is run in the first only."""
        once = int(task in self.folds or study == 1)
        vectors = task in self.vectors
        runs = {"untrained": self.experiment.budget.seeds, "pixels": once * (not vectors)}
        runs |= {"features": once * vectors, "pca": int(vectors), "lda": int(vectors)}
        return [name for name in self.experiment.baselines for _ in range(runs[name])]

    def run_spec(
        self, task: Task, recipe: Recipe, values: Mapping[str, Value], *, seed: int, final: bool, **where: Any
    ) -> RunSpec:
        """One training run of a recipe; `where` holds further fields of the specification, such as its deal."""
        experiment = self.experiment
        training: Training = where.pop("training", experiment.training)
        if training.negatives != recipe.negatives:
            training = training.model_copy(update={"negatives": recipe.negatives})
        first, *later = stages = recipe.stages(values, training.epochs)
        trained = {term.loss for stage in stages for term in stage.terms}
        losses = [plugin for plugin in recipe.losses if plugin.name in trained]
        return RunSpec(
            task=task,
            backbone=experiment.backbone,
            embedding_dim=experiment.embedding_dim,
            terms=first.terms,
            sampler=first.sampler,
            then=later[0] if later else None,
            neck=recipe.neck,
            before_neck=recipe.before_neck,
            training=training,
            lr=float(values["lr"]),
            start=self._start(float(values.get(TRUNK, 1.0))),
            weights_file=self.weights_file,
            seed=seed,
            final=final,
            provenance=self.provenance(task, losses, experiment.backbone),
            plugin_files=self.plugin_files,
            **where,
        )

    def baseline_spec(self, task: Task, name: str, *, seed: int, **where: Any) -> RunSpec:
        """The network as initialized, or the map of that name, which is fitted if at all and not trained."""
        own = name == "untrained"
        backbone = self.experiment.backbone if own else name
        return RunSpec(
            task=task,
            backbone=backbone,
            embedding_dim=self.experiment.embedding_dim,
            terms=(),
            sampler="uniform",
            lr=0.0,
            start=self._start() if own else None,
            weights_file=self.weights_file if own else "",
            training=self.experiment.training,
            seed=seed,
            final=True,
            provenance=self.provenance(task, [], backbone),
            plugin_files=self.plugin_files,
            **where,
        )

    def _start(self, lr_factor: float = 1.0) -> Start | None:
        """What the network starts from; None: from nothing."""
        pretrained = self.experiment.pretrained
        if pretrained is None:
            return None
        return Start(weights=self.weights, freeze=pretrained.freeze, lr_factor=lr_factor)

    def provenance(self, task: Task, losses: Iterable[Plugin], backbone: str) -> Provenance:
        """What a run of this plan depends on beside its settings."""
        return provenance_of(task, losses, backbone, self.checksums[task], self.plugin_files)


def provenance_of(
    task: Task, losses: Iterable[Plugin], backbone: str, checksum: str, plugin_files: Sequence[str]
) -> Provenance:
    """What a run depends on beside its settings; only plugins that it uses are part of it."""
    modules = [*losses, registry.find("backbone", backbone)]
    used = [
        *modules,
        registry.find("dataset", task.dataset.partition(":")[0]),
        *(registry.find("metric", name) for name in registry.names("metric", plugin_files)),
    ]
    foreign = {f"{plugin.kind} {plugin.name}": plugin.digest for plugin in used if not plugin.builtin}
    return Provenance(
        data=checksum,
        code=code_digest(modules),
        plugins=tuple(sorted(foreign.items())),
        libraries=library_versions(backbone),
    )


def make_plan(experiment: Experiment, *, file: Path, plugin_files: Sequence[Path] = ()) -> Plan:
    """Resolve every name and check every value of an experiment.

    Args:
        file: the experiment file; paths of its plugins are relative to it.
        plugin_files: further plugin files, relative to the working directory.

    Raises:
        SpecError: every mistake found.
    """
    paths = tuple(file.parent / name for name in experiment.plugins) + tuple(plugin_files)
    try:
        registry.load_files(paths)
    except SpecError as error:
        raise SpecError(f"{file}: plugins: {mistake}" for mistake in error.mistakes) from error
    recipes, mistakes = _recipes(experiment)
    mistakes += _training_mistakes(experiment.training)
    mistakes += claims.mistakes(experiment.claims, registry.names("metric", map(str, paths)))
    mistakes += _backbone_mistakes(experiment.backbone)
    weights = None
    if experiment.pretrained is not None:
        weights = _weights_file(experiment.pretrained.weights, file)
        if weights is None:
            mistakes.append(
                f"pretrained.weights: {experiment.pretrained.weights}: is not a file, beside the experiment or here"
            )
    looked = {}
    for position, task in enumerate(experiment.tasks):
        place = toml_path(["tasks", position])
        try:
            looked[task] = found_data = look_at(task, experiment.training)
        except ValueError as error:
            mistakes.append(f"{place}: {error}")
            continue
        mistakes += _unfit(experiment, task, "vectors" if found_data.vectors else "images")
        if found_data.folds and found_data.folds < experiment.budget.studies.most:
            mistakes.append(
                f"budget.studies: a study of {task.key} is one of its {found_data.folds} folds; ask for no more"
            )
    if mistakes:
        raise SpecError(f"{file}: {mistake}" for mistake in mistakes)
    vectors = frozenset(task for task, data in looked.items() if data.vectors)
    return Plan(
        experiment=_with_baselines(experiment, vectors),
        recipes=recipes,
        checksums={task: data.checksum for task, data in looked.items()},
        plugin_files=tuple(str(path.resolve()) for path in paths),
        train_sizes={task: data.train_size for task, data in looked.items()},
        scored={task: data.scored for task, data in looked.items()},
        pixels={task: data.pixels for task, data in looked.items()},
        splits={task: data.parts for task, data in looked.items()},
        deals=frozenset(task for task, data in looked.items() if data.deals and task.splits == "dealt"),
        folds={task: data.folds for task, data in looked.items() if data.folds},
        vectors=vectors,
        file_digest=_sha256(file) if file.is_file() else "",
        weights_file=str(weights) if weights else "",
        weights=_sha256(weights) if weights else "",
    )


def _backbone_mistakes(name: str) -> list[str]:
    """What is wrong with the name of a backbone, if anything."""
    try:
        plugin = registry.find("backbone", name)
    except PluginError as error:
        return [f"backbone: {error}"]
    bare, _, variant = name.partition(":")
    if variant and not plugin.variants:
        return [f"backbone: {name!r}: {bare!r} is one network; nothing follows its name"]
    if plugin.variants and not variant:
        return [f"backbone: {name!r}: say which one: `{bare}:NAME`"]
    return []


def _weights_file(given: str, file: Path) -> Path | None:
    """A file of weights: its place beside the experiment file, else in the working directory."""
    path = Path(given).expanduser()
    return next((each.resolve() for each in (file.parent / path, path) if each.is_file()), None)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _with_baselines(experiment: Experiment, vectors: frozenset[Task]) -> Experiment:
    """The samples as they are, under their name: `pixels` are the `features` of a task of vectors."""
    pixels = ("pixels",) if len(vectors) < len(experiment.tasks) else ()
    features = ("features",) if vectors else ()
    names = [new for name in experiment.baselines for new in ((*pixels, *features) if name == "pixels" else (name,))]
    return experiment.model_copy(update={"baselines": tuple(dict.fromkeys(names))})


def _unfit(experiment: Experiment, task: Task, kind: Input) -> Iterator[str]:
    """What an experiment sets that its task's kind of samples cannot have."""
    try:
        takes = registry.find("backbone", experiment.backbone).inputs
    except PluginError:  # said already
        takes = ()
    if takes and kind not in takes:
        others = [name for name in registry.names("backbone") if kind in registry.find("backbone", name).inputs]
        trained = ", ".join(name for name in others if name not in (*UNSEEDED, *OF_VECTORS))
        yield f"backbone: {experiment.backbone!r} takes {' and '.join(takes)}, but {task.dataset} has {kind}: {trained}"
    if kind == "vectors" and (augment := experiment.training.augment):
        yield f"training.augment: {', '.join(map(repr, augment))}: for pictures only, but {task.dataset} has vectors"


def _recipes(experiment: Experiment) -> tuple[tuple[Recipe, ...], list[str]]:
    recipes, mistakes = [], []
    for position, entry in enumerate(experiment.recipes):
        try:
            recipe = _made(entry.name, entry.use, experiment)
        except PluginError as error:
            mistakes.append(f"{toml_path(['recipes', position])}: {error}")
            continue
        recipe = negatives.sampled(experiment, entry, necks.necked(experiment, entry, recipe))
        recipe, found = with_params(recipe, experiment.params.get(entry.name, {}))
        mistakes += [f"{toml_path(['params', entry.name, name])}: {mistake}" for name, mistake in found]
        recipes.append(recipe)
        if entry.name in experiment.baselines:
            mistakes.append(f"{toml_path(['recipes', position])}: {entry.name!r} is the name of a baseline")
    mistakes += [*_unlisted_params(experiment), *necks.mistakes(experiment), *negatives.mistakes(experiment, recipes)]
    return tuple(recipes), mistakes


def _made(name: str, rule: str, experiment: Experiment) -> Recipe:
    """The recipe of a rule with what the experiment's setting gives it to search."""
    recipe, pretrained = make_recipe(name, rule, experiment.training), experiment.pretrained
    return recipe if pretrained is None or pretrained.freeze else with_factor(recipe, pretrained.lr_factor)


def _unlisted_params(experiment: Experiment) -> list[str]:
    """Parameters of recipes that are not listed are allowed, as long as there can be such a recipe."""
    mistakes = []
    listed = {entry.name for entry in experiment.recipes}
    for name, given in experiment.params.items():
        if name in listed:
            continue
        try:
            recipe = _made(name, name, experiment)
        except PluginError as error:
            mistakes.append(f"{toml_path(['params', name])}: no such recipe: {error}")
            continue
        _, found = with_params(recipe, given)
        mistakes += [f"{toml_path(['params', name, param])}: {mistake}" for param, mistake in found]
    return mistakes


def _training_mistakes(training: Training) -> list[str]:
    mistakes = []
    if training.batch_size // training.samples_per_class < 2:
        mistakes.append(
            f"training.batch_size: {training.batch_size} holds fewer than two classes of "
            f"{training.samples_per_class} (training.samples_per_class)"
        )
    if training.batch_size < training.processes:
        mistakes.append(
            f"training.batch_size: {training.batch_size} leaves nothing for some of the {training.processes} "
            "processes (training.processes)"
        )
    if training.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            mistakes.append("training.device: 'cuda': this torch finds no GPU; use 'cpu', or see docs/scaling.md")
    return mistakes

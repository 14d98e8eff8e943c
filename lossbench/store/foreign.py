"""What a file that may come from anywhere must hold before anything is computed or drawn from it.

A checksum says that a file is whole, not who wrote it: whoever can write files can sign them. So the shape of
every document is checked, and a run must have the id that its own specification gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from stat import S_ISREG
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from lossbench.specification.experiment import Experiment
from lossbench.specification.spec import SCHEMA, from_json
from lossbench.store.records import FILES, RUN_ID, RefusedError, described, opened

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # of an experiment, and so of its files
Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1e150, le=1e150)]  # squares stay finite
Count = Annotated[int, Field(strict=True, ge=0, le=10**9)]
Text = Annotated[str, Field(strict=True, max_length=2000)]
Digest = Annotated[str, StringConstraints(pattern=f"^{RUN_ID.pattern}$")]
Figures = dict[Text, Number | None]
Role = Literal["pilot", "trial", "candidate", "final", "default", "longer", "baseline"]


class _Known(BaseModel):
    """Keys beyond these are somebody else's business."""

    model_config = ConfigDict(extra="allow")


class _Record(_Known):
    metrics: dict[Text, Figures] = {}
    curves: dict[Text, list[Number | None]] = {}
    cost: Figures = {}
    best_epoch: Count | None = None
    diverged_epoch: Count | None = None
    environment: dict[Text, Text] = {}
    error: Annotated[str, Field(strict=True)] = ""


class _Row(_Known):
    dataset: Text
    protocol: Text
    study: Annotated[Count, Field(ge=1)] = 1
    recipe: Text
    role: Role
    trial: Count | None
    seed: Count
    fold: Count | None = None
    run_id: Digest
    params: dict[Text, Number | Text]


class _Recipe(_Known):
    name: Text
    losses: list[Text]
    sampler: Text
    searched: dict[Text, dict[Text, Any]]
    defaults: dict[Text, Any]


class _Provenance(_Known):
    data: Text
    code: Text
    plugins: list[tuple[Text, Text]]
    libraries: list[tuple[Text, Text]]


class _Choice(_Known):
    task: Text
    study: Count
    recipe: Text


class _Part(_Known):
    classes: Count
    samples: Count


class _Plan(_Known):
    schema_: Annotated[Literal[1], Field(alias="schema")]
    name: Annotated[str, StringConstraints(pattern=NAME, max_length=100)]
    experiment: Experiment
    recipes: list[_Recipe]
    planned_runs: Count
    studies: dict[Text, Count]
    dropped: dict[Text, dict[Text, Count]]
    looks: dict[Text, list[dict[Text, Any]]] = {}
    choices: list[_Choice] = []
    claims: dict[Text, dict[Text, Any]] = {}
    train_images: dict[Text, Count] = {}
    splits: dict[Text, dict[Text, _Part]] = {}
    provenance: dict[Text, _Provenance]
    rows: Annotated[list[_Row], Field(min_length=1)]


class _Claim(_Known):
    text: Text
    post_hoc: Annotated[bool, Field(strict=True)]
    file_sha256: Text = ""
    date: Text = ""


class _Measured(_Known):
    rounds: Count
    batch_size: Count
    classes: Count
    recipes: dict[Text, dict[Text, list[Number]]]


class _Scaling(_Known):
    base: dict[Text, Number] = {}
    losses: dict[Text, dict[Text, list[tuple[Number, Number | None]]]] = {}


class _Probe(_Known):
    schema_: Annotated[Literal[1], Field(alias="schema")]
    tasks: dict[Text, _Measured] = {}
    scaling: _Scaling | None = None


def read_run(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A run's record and the content of its files, `result.json` among them, all of it checked.

    Raises:
        RefusedError: naming the file that is not what was written, or not of this run or version.
        OSError: a file cannot be read.
    """
    stored = _content(folder / "result.json")
    record = opened(stored, folder.name)
    check_record(record)
    files = {name: _content(folder / name) for name in FILES if name in record.get("files", {})}
    for name, content in files.items():
        if described(content) != record["files"][name]:
            raise RefusedError(f"{name} is not what was written: its size or SHA-256 differ")
    return record, {**files, "result.json": stored}


def check_record(record: Mapping[str, Any]) -> None:
    """See that a record holds what those who read records count on, and is of the run that it says.

    Raises:
        RefusedError: it does not.
    """
    check_figures(record)
    try:
        own = from_json(record["spec"]).run_id
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise RefusedError("its specification is of another version of lossbench") from error
    if own != record["run_id"]:
        raise RefusedError(f"its specification gives the run id {own}: it was edited, or is of another version")


def check_figures(record: Mapping[str, Any]) -> None:
    """See that a record holds figures where those who read records expect them.

    Raises:
        RefusedError: it does not.
    """
    _check(_Record, record)


def read_plan(path: Path) -> dict[str, Any]:
    """The plan of an experiment.

    Raises:
        RefusedError: it is no such plan, or does not fit its own name, tasks and recipes.
        OSError: the file cannot be read.
    """
    plan = _parsed(path)
    _check(_Plan, plan)
    tasks, baselines = set(plan["provenance"]), set(plan["experiment"].get("baselines", ()))
    names = {recipe["name"] for recipe in plan["recipes"]} | baselines
    listed = [f"{row['dataset']}/{row['protocol']}" for row in plan["rows"]]
    fit = {
        "name": plan["name"] == path.stem == plan["experiment"]["name"],
        "tasks": len(plan["experiment"]["tasks"]) == len(tasks) == len(plan["studies"]) == len(plan["dropped"]),
        "recipes": len(names) == len(plan["recipes"]) + len(baselines),
        "studies": set(plan["studies"]) == tasks == set(plan["dropped"]),
        "rows": set(listed) <= tasks and all(row["recipe"] in names for row in plan["rows"]),
        "choices": all(each["task"] in tasks and each["recipe"] in names for each in plan.get("choices", ())),
    }
    if wrong := [name for name, fits in fit.items() if not fits]:
        raise RefusedError(f"is malformed: {wrong[0]} do not fit the rest of it")
    return plan


def read_claims(path: Path) -> dict[str, dict[str, Any]]:
    """Registered claims by their digest.

    Raises:
        RefusedError: they are none.
        OSError: the file cannot be read.
    """
    document = _parsed(path)
    claims = document.get("claims")
    if document.get("schema") != SCHEMA or not isinstance(claims, dict):
        raise RefusedError(f"is no registration of claims of schema {SCHEMA}")
    for claim in claims.values():
        _check(_Claim, claim)
    return claims


def read_probe(path: Path) -> dict[str, Any]:
    """What a cost probe measured.

    Raises:
        RefusedError: it is no such document.
        OSError: the file cannot be read.
    """
    document = _parsed(path)
    _check(_Probe, document)
    return document


def _parsed(path: Path) -> dict[str, Any]:
    try:
        document = orjson.loads(_content(path))
    except ValueError as error:
        raise RefusedError(f"is no JSON: {str(error)[:80]}") from error
    if not isinstance(document, dict):
        raise RefusedError("is no table")
    return document


def _content(path: Path) -> bytes:
    if not S_ISREG(path.stat().st_mode):  # a pipe would keep whoever reads it waiting for ever
        raise RefusedError(f"{path.name} is no regular file")
    return path.read_bytes()


def _check(model: type[_Known], document: Any) -> None:
    try:
        model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part)[:40] for part in first["loc"])
        raise RefusedError(f"is malformed, or of another version of lossbench: {place!r}: {first['msg']}") from error
    except RecursionError as error:
        raise RefusedError("is malformed: nested beyond reason") from error

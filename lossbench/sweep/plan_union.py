"""The plans of one experiment in several folders as one: rows, choices, claims and probes.

Plans of the same settings, data, code, plugins and libraries are united, whichever studies each of them has. Any
other plan of that name is kept beside it, under a name that ends in a digest of what it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lossbench.specification.spec import canonical
from lossbench.store import Store, foreign
from lossbench.store.records import RefusedError, printable
from lossbench.sweep.jobs import FINAL_ROLES, ROLES

Document = dict[str, Any]
Folder = tuple[str, Path]  # its label, and where it lies
GROWING = ("rows", "choices", "claims", "looks", "studies", "dropped", "planned_runs")  # of a plan, with its studies


def unite(folders: Sequence[Folder], store: Store) -> tuple[list[str], list[str]]:
    """Write the plans, claims and probes of the folders into a store; its runs are there already.

    Returns:
        Lines of what was kept apart or decided, and lines of what was refused.
    """
    notes: list[str] = []
    problems: list[str] = []
    names = sorted({path.stem for _, root in folders for path in (root / "experiments").glob("*.json")})
    for name in names:
        groups: list[tuple[Document, list[Folder]]] = []
        for label, root in folders:
            plan = _read(_plan, (label, root), f"experiments/{name}.json", problems)
            if plan is None:
                continue
            for number, (known, holders) in enumerate(groups):
                if (joined := united(known, plan)) is not None:
                    groups[number] = joined, [*holders, (label, root)]
                    break
            else:
                groups.append((plan, [(label, root)]))
        for number, (plan, holders) in enumerate(groups):
            own = plan if not number else _renamed(plan)
            if number:
                apart = ", ".join(_differences(groups[0][0], plan))
                notes.append(f"{name} of {holders[0][0]} has other {apart}: kept apart as {own['name']}")
            _write(own, name, holders, store, notes, problems)
    return notes, problems


def united(a: Mapping[str, Any], b: Mapping[str, Any]) -> Document | None:
    """One plan of two, in the words of the first; None where they are no plans of the same runs."""
    if _identity(a) != _identity(b):
        return None
    b = _in_words_of(a, b)
    ahead, behind = (a, b) if _decided(a) >= _decided(b) else (b, a)
    for task, looks in behind["looks"].items():
        if ahead["looks"][task][: len(looks)] != looks:
            return None  # decided from other scores: they conflict
    rows = {_place(row): row for row in (*behind["rows"], *ahead["rows"])}
    if any(rows[_place(row)]["run_id"] != row["run_id"] for row in behind["rows"]):
        return None
    choices = {(each["task"], each["study"], each["recipe"]): each for each in (*b["choices"], *a["choices"])}
    order = _order(a)
    grown = {**{name: ahead[name] for name in GROWING}, "claims": a["claims"]}
    grown["planned_runs"] = max(a["planned_runs"], b["planned_runs"])
    grown["choices"] = sorted(choices.values(), key=lambda each: order(each["task"], each["study"], each["recipe"]))
    grown["rows"] = sorted(
        rows.values(), key=lambda row: (*order(_task(row), row["study"], row["recipe"]), *_role(row))
    )
    return {**a, **grown}


def merged_claims(held: Sequence[tuple[Mapping[str, Any], bool]]) -> dict[str, Any]:
    """Claims of several folders by their digest: post hoc where any folder could have seen what it speaks of.

    Args:
        held: of each folder its claims, and whether it has final runs.
    """
    found: dict[str, Any] = {}
    for claims, _ in held:
        for key, claim in claims.items():
            known = found.get(key, claim)
            first = min(known, claim, key=lambda each: str(each.get("date", "")))
            found[key] = {**first, "post_hoc": known["post_hoc"] or claim["post_hoc"]}
    for claims, has_finals in held:
        for key in found.keys() - claims.keys() if has_finals else ():
            found[key] = {**found[key], "post_hoc": True}
    return found


def _write(
    plan: Document, name: str, holders: Sequence[Folder], store: Store, notes: list[str], problems: list[str]
) -> None:
    """A plan with the claims and the probe of the folders that it came from; the plan comes last."""
    seen = {row["run_id"] for row in plan["rows"] if row["role"] in FINAL_ROLES}
    held = []
    for label, root in holders:
        claims = _read(foreign.read_claims, (label, root), f"claims/{name}.json", problems) or {}
        held.append((claims, any((root / run_id).is_dir() for run_id in seen)))
    if claims := merged_claims(held):
        before = {key for claims, _ in held for key, claim in claims.items() if claim["post_hoc"]}
        late = sorted({claim["text"] for key, claim in claims.items() if claim["post_hoc"] and key not in before})
        notes += [f"{plan['name']}: post hoc, as another folder had final runs without it: {text}" for text in late]
        store.write_claims(plan["name"], claims)
        plan["claims"] = {key: claims[key] for key in plan["claims"] if key in claims}
    probes = [_read(foreign.read_probe, holder, f"probes/{name}.json", problems) for holder in holders]
    if probe := next(filter(None, probes), None):
        store.write_probe(plan["name"], {**probe, "experiment": plan["name"]})
    store.write_plan(plan)


def _read(reader: Any, folder: Folder, name: str, problems: list[str]) -> Document | None:
    """A document of a folder; None where there is none or where it is refused, by name."""
    label, root = folder
    try:
        found: Document = reader(root / name)
    except FileNotFoundError:
        return None
    except (RefusedError, OSError) as error:
        problems.append(f"refused: {label}: {printable(name)} {getattr(error, 'strerror', None) or error}")
        return None
    return found


def _plan(path: Path) -> Document:
    plan = foreign.read_plan(path)
    if missing := [part for part in GROWING if part not in plan]:
        raise RefusedError(f"is of another version of lossbench: it has no {missing[0]!r}")
    return plan


def _identity(plan: Mapping[str, Any]) -> bytes:
    """What two plans of the same runs share: all but how far they are and where files lie on a machine."""
    content = {name: value for name, value in plan.items() if name not in (*GROWING, "file_sha256", "experiment")}
    keys = list(plan["provenance"])
    by_task = ("provenance", "train_images", "splits")
    content |= {name: [plan.get(name, {}).get(key) for key in keys] for name in by_task}
    experiment = {
        name: value
        for name, value in plan["experiment"].items()
        if name not in ("tasks", "plugins", "resources", "claims", "question")
    }
    tasks = [{**task, "dataset": task["dataset"].partition(":")[0]} for task in plan["experiment"]["tasks"]]
    return canonical({**content, "experiment": experiment, "tasks": tasks})


def _in_words_of(a: Mapping[str, Any], b: Mapping[str, Any]) -> Document:
    """A plan whose tasks are called as another one calls them: data of one content may lie in another place."""
    pairs = zip(b["experiment"]["tasks"], a["experiment"]["tasks"], strict=True)
    datasets = {theirs["dataset"]: ours["dataset"] for theirs, ours in pairs}
    keys = dict(zip(b["provenance"], a["provenance"], strict=True))
    by_task = {name: {keys[key]: value for key, value in b[name].items()} for name in ("looks", "studies", "dropped")}
    rows = [{**row, "dataset": datasets[row["dataset"]]} for row in b["rows"]]
    return {**b, **by_task, "rows": rows, "choices": [{**each, "task": keys[each["task"]]} for each in b["choices"]]}


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[str]:
    """What makes two plans of one name plans of other runs."""
    pairs = list(zip(a["provenance"].values(), b["provenance"].values(), strict=False))
    parts = [part for part in ("data", "code", "plugins", "libraries") if any(x[part] != y[part] for x, y in pairs)]
    yield from parts
    settings = [
        name for name, value in a["experiment"].items() if value != b["experiment"].get(name) and name != "resources"
    ]
    yield from settings
    if not parts and not settings:
        yield "decisions, recipes or runs"


def _renamed(plan: Mapping[str, Any]) -> Document:
    """The plan under a name of its own, which its content alone decides."""
    name = f"{plan['name'][:80]}.{hashlib.sha256(_identity(plan)).hexdigest()[:8]}"
    return {**plan, "name": name, "experiment": {**plan["experiment"], "name": name}}


def _decided(plan: Mapping[str, Any]) -> int:
    return sum(map(len, plan["looks"].values()))


def _order(plan: Mapping[str, Any]) -> Any:
    """As a sweep orders its rows: by the experiment's own order of tasks and recipes, baselines last."""
    tasks = {task: number for number, task in enumerate(plan["provenance"])}
    names: Iterable[str] = [*(each["name"] for each in plan["recipes"]), *plan["experiment"]["baselines"]]
    places = {name: number for number, name in enumerate(names)}
    return lambda task, study, recipe: (tasks[task], study, places[recipe])


def _role(row: Mapping[str, Any]) -> tuple[int, int, int]:
    return ROLES.index(row["role"]), -1 if row["trial"] is None else row["trial"], row["seed"]


def _task(row: Mapping[str, Any]) -> str:
    return f"{row['dataset']}/{row['protocol']}"


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("dataset", "protocol", "study", "recipe", "role", "trial", "seed"))

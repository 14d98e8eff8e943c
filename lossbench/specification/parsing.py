"""Experiment files: TOML in, validated `Experiment` out, every mistake as one line with its place."""

from __future__ import annotations

import re
import tomllib
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lossbench.specification.spec import Experiment, SpecError, nearest

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def read_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read, override and validate an experiment file.

    Args:
        overrides: `key=value` each; the key is a TOML path, the value TOML or else a plain string.

    Raises:
        SpecError: every mistake found, each with its place.
    """
    try:
        document = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise SpecError([f"{path}: {(error.strerror or str(error)).lower()}"]) from error
    except UnicodeDecodeError as error:
        raise SpecError([f"{path}: is not UTF-8 text (byte {error.start})"]) from error
    except tomllib.TOMLDecodeError as error:
        raise SpecError([f"{path}: is not TOML: {error}"]) from error
    except RecursionError as error:
        raise SpecError([f"{path}: is nested too deeply"]) from error
    listed = _recipe_names(document)
    mistakes = [mistake for override in overrides if (mistake := _override(document, override))]
    _drop_params(document, listed - _recipe_names(document))
    try:
        experiment = Experiment.model_validate(document)
    except ValidationError as error:
        mistakes += [f"{path}: {mistake}" for mistake in _mistakes(error)]
        raise SpecError(mistakes) from error
    if mistakes:
        raise SpecError(mistakes)
    return experiment


def toml_path(parts: Iterable[int | str]) -> str:
    """A place in a file as TOML would write it.

    >>> toml_path(["params", "softmax+center", "alpha"])
    'params."softmax+center".alpha'
    >>> toml_path(["tasks", 0, "dataset"])
    'tasks[0].dataset'
    """
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if BARE_KEY.fullmatch(part) else f'"{part}"')
    return text


def _recipe_names(document: dict[str, Any]) -> set[str]:
    """The names of the recipes that a document lists, as far as they can be read."""
    recipes = document.get("recipes")
    entries = recipes if isinstance(recipes, list) else []
    names = [entry.get("name") if isinstance(entry, dict) else entry for entry in entries]
    return {name for name in names if isinstance(name, str)}


def _drop_params(document: dict[str, Any], recipes: set[str]) -> None:
    """Forget the parameters of recipes that `--set recipes=...` took out."""
    if isinstance(params := document.get("params"), dict):
        document["params"] = {name: given for name, given in params.items() if name not in recipes}


def _override(document: dict[str, Any], override: str) -> str | None:
    """Merge one `key=value` into the document before it is validated; what is wrong with it, if anything."""
    left, equals, right = _split(override)
    if not equals or not left:
        return f"--set {override}: is not key=value"
    try:
        path = _key_path(tomllib.loads(f"{left} = 0"))
    except tomllib.TOMLDecodeError:
        path = []
    if not path:  # a comment is no key either
        return f"--set {override}: {left!r} is not a TOML key"
    try:
        value = tomllib.loads(f"value = {right}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = right
    place: Any = document
    for key in path[:-1]:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            return f"--set {override}: {key!r} is not a table"
    place[path[-1]] = value
    return None


def _split(override: str) -> tuple[str, str, str]:
    """Split at the first equals sign outside quotes."""
    quote = ""
    for position, character in enumerate(override):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "=":
            return override[:position].strip(), "=", override[position + 1 :].strip()
    return override, "", ""


def _key_path(nested: Any) -> list[str]:
    """The keys that lead to the one value of `a.b.c = 0`."""
    path = []
    while isinstance(nested, dict) and nested:
        key, nested = next(iter(nested.items()))
        path.append(key)
    return path


def _mistakes(error: ValidationError) -> list[str]:
    """Pydantic's findings as lines: place, value, rule and, for a key, the nearest one."""
    lines = []
    errors = error.errors(include_url=False)
    for found in errors:
        place = toml_path(found["loc"])
        match found["type"]:
            case "extra_forbidden":
                known = _known_keys(found["loc"][:-1])
                lines.append(f"{place}: unknown key{nearest(str(found['loc'][-1]), known)}")
            case "missing":
                lines.append(f"{place}: is required")
            case "value_error":
                lines.append(f"{place}: {found['ctx']['error']}")
            case "model_type" | "dict_type" | "mapping_type":
                lines.append(f"{place}: {_shown(found['input'])} is not a table")
            case "too_short" if any(
                other["loc"][: len(found["loc"])] == found["loc"] != other["loc"] for other in errors
            ):
                pass  # only because its items are mistakes themselves
            case "literal_error":
                expected = found["ctx"]["expected"]
                options = re.findall(r"'([^']*)'", expected)
                lines.append(
                    f"{place}: {_shown(found['input'])} is not {expected}{nearest(str(found['input']), options)}"
                )
            case "too_short":
                lines.append(f"{place}: must not be empty")
            case _:
                rule = found["msg"][0].lower() + found["msg"][1:]
                lines.append(f"{place}: {_shown(found['input'])}: {rule}")
    return lines


def _known_keys(place: Sequence[int | str]) -> list[str]:
    """The keys that the table at `place` may have."""
    model: type[BaseModel] = Experiment
    for part in place:
        if isinstance(part, str):
            model = _table_in(model.model_fields[part].annotation)
    return list(model.model_fields)


def _table_in(annotation: Any) -> type[BaseModel]:
    """The table type inside `tuple[Annotated[Table, ...], ...]` and the like."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in typing.get_args(annotation):
        if argument is not Ellipsis and (typing.get_args(argument) or isinstance(argument, type)):
            return _table_in(argument)
    raise AssertionError(f"{annotation} holds no table")


def _shown(value: object) -> str:
    """The offending value, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

"""Experiment files: TOML in, validated `Experiment` out, every mistake as one line with its place."""

from __future__ import annotations

import re
import tomllib
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lossbench.plugins.mistakes import SpecError, nearest
from lossbench.specification.experiment import Experiment
from lossbench.specification.flags import read_value

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


def blamed(mistakes: Iterable[str], file: Path, overrides: Sequence[str]) -> list[str]:
    """Mistakes of an experiment with `--set KEY=VALUE` in place of the file, where that is what put the value there."""
    keys = {toml_path(path): each for each in overrides if (path := _keys(_split(each)[0]))}
    return [_blamed(mistake, f"{file}: ", keys) for mistake in mistakes]


def _blamed(mistake: str, prefix: str, keys: Mapping[str, str]) -> str:
    if not mistake.startswith(prefix):
        return mistake
    said = mistake.removeprefix(prefix)
    for key, override in reversed(list(keys.items())):  # the last one counts
        below = said.startswith(key) and said[len(key)] in ".[:"
        above = key.startswith(f"{said.partition(': ')[0]}.")
        if below or above:
            return f"--set {_cut(override)}: {said}"
    return mistake


def _recipe_names(document: dict[str, Any]) -> set[str]:
    """The names of the recipes that a document lists, as far as they can be read."""
    recipes = document.get("recipes")
    entries = recipes if isinstance(recipes, list) else []
    names = [entry.get("name") if isinstance(entry, dict) else entry for entry in entries]
    return {name for name in names if isinstance(name, str)}


def _drop_params(document: dict[str, Any], recipes: set[str]) -> None:
    """Forget the parameters and terms of recipes that `--set recipes=...` took out."""
    for table in ("params", "terms"):
        if isinstance(given := document.get(table), dict):  # of terms, what is no table is of a loss
            dropped = {name for name in recipes & set(given) if table == "params" or isinstance(given[name], dict)}
            document[table] = {name: value for name, value in given.items() if name not in dropped}


def _override(document: dict[str, Any], override: str) -> str | None:
    """Merge one `key=value` into the document before it is validated; what is wrong with it, if anything."""
    left, equals, right = _split(override)
    if not equals or not left:
        return f"--set {override}: is not key=value"
    if not (path := _keys(left)):
        return f"--set {override}: {left!r} is not a TOML key"
    place: Any = document
    for key in path[:-1]:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            return f"--set {override}: {key!r} is not a table"
    place[path[-1]] = read_value(right)
    return None


def _keys(left: str) -> list[str]:
    """The keys of a dotted TOML key; none where it is no key."""
    try:
        return _key_path(tomllib.loads(f"{left} = 0"))  # empty for a comment
    except tomllib.TOMLDecodeError:
        return []


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


# Pydantic's types of errors that values of a file can have, in this project's words; `{x}` is from the error's context.
RULES = {
    "missing": "is required",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "string_too_long": "{shown} is longer than {max_length} characters",
    "string_pattern_mismatch": "{shown} is not a name: letters, digits, '.', '_' and '-', a letter or digit first",
    "string_type": "{shown} is not text",
    "string_unicode": "{shown} is not text",
    "int_type": "{shown} is not a whole number",
    "float_type": "{shown} is not a number",
    "finite_number": "{shown} is not a finite number",
    "bool_type": "{shown} is not true or false",
    "bool_parsing": "{shown} is not true or false",
    "tuple_type": "{shown} is not a list",
    "model_type": "{shown} is not a table",
    "dict_type": "{shown} is not a table",
    "mapping_type": "{shown} is not a table",
    "greater_than": "{shown} is not more than {gt:.10g}",
    "greater_than_equal": "{shown} is less than {ge:.10g}",
    "less_than": "{shown} is not less than {lt:.10g}",
    "less_than_equal": "{shown} is more than {le:.10g}",
    "value_error": "{error}",
}


def _mistakes(error: ValidationError) -> list[str]:
    """Pydantic's findings as lines: place, value, rule and, for a key, the nearest one."""
    errors = error.errors(include_url=False)
    places = [found["loc"] for found in errors]
    return [
        f"{toml_path(found['loc'])}: {_rule(found)}"
        for found in errors
        # A list whose items are mistakes themselves is too short for that reason only.
        if found["type"] != "too_short"
        or not any(other[: len(found["loc"])] == found["loc"] != other for other in places)
    ]


def _rule(found: ErrorDetails) -> str:
    """What is wrong with one value."""
    shown, context = _shown(found["input"]), found.get("ctx", {})
    match found["type"]:
        case "extra_forbidden":
            known = _known_keys(found["loc"][:-1])
            return f"unknown key{nearest(str(found['loc'][-1]), known)}"
        case "literal_error":
            options = re.findall(r"'([^']*)'", context["expected"])
            return f"{shown} is not {context['expected']}{nearest(str(found['input']), options)}"
        case kind:
            return RULES[kind].format(shown=shown, **context)


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
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."

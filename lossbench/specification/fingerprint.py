"""What a result depends on beside its settings: the code it ran and the libraries that computed it."""

from __future__ import annotations

import ast
import copy
import hashlib
import importlib.metadata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from lossbench.plugins import Plugin

LIBRARIES = ("torch", "pytorch-metric-learning", "numpy")
# The sources that every result depends on; orchestration and reporting are not among them.
CORE = (
    "datasets/splits.py",
    "datasets/subset.py",
    "run/device.py",
    "run/evaluation.py",
    "run/execution.py",
    "metrics",
    "run/parallel.py",
    "run/pull.py",
    "run/sampling.py",
    "run/seeding.py",
    "run/training.py",
)
# Packages of plugins: a result depends on the modules that its own losses and backbone import, not on their siblings.
PLUGIN_PACKAGES = ("lossbench.losses.", "lossbench.backbones.")
ROOT = Path(__file__).parents[1]


@lru_cache
def library_versions() -> tuple[tuple[str, str], ...]:
    """(name, version) of the libraries that compute results, read without importing them."""
    return tuple((name, importlib.metadata.version(name)) for name in LIBRARIES)


def code_digest(plugins: Iterable[Plugin] = ()) -> str:
    """Digest of the core and of what the given built-in plugins run; comments, docstrings and layout do not count.

    Plugins that lossbench does not ship are known by their file's checksum instead.
    """
    own = {_plugin_code(each.file, each.function.__name__) for each in plugins if each.builtin}
    return hashlib.sha256("\n".join([_core(), *sorted(own)]).encode()).hexdigest()[:16]


@lru_cache
def _core() -> str:
    digest = hashlib.sha256()
    for name in CORE:
        place = ROOT / name
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.relative_to(ROOT).as_posix().encode())
            digest.update(ast.unparse(_parsed(path)).encode())
    return digest.hexdigest()


@lru_cache
def _plugin_code(file: Path, function: str) -> str:
    """The source of a plugin's function, of the definitions it uses, and of the modules that these import."""
    tree = _parsed(file)
    used = list(_reachable(tree, function)) or tree.body
    waiting, seen = _imported(used), set[str]()
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting |= _imported(_parsed(_path(module)).body)
    return "\n".join(ast.unparse(node) for node in [*used, *(_parsed(_path(module)) for module in sorted(seen))])


def _reachable(tree: ast.Module, name: str) -> Iterator[ast.stmt]:
    """The top-level definitions that `name` needs, itself first; none where it is not one of them."""
    definitions = {defined: node for node in tree.body for defined in _defines(node)}
    waiting, seen = [name], set[str]()
    while waiting:
        word = waiting.pop()
        if word in seen or word not in definitions:
            continue
        seen.add(word)
        node = definitions[word]
        if word == name and isinstance(node, ast.FunctionDef):  # what it declares is in the specification
            node = copy.copy(node)
            node.decorator_list = []
        yield node
        waiting += sorted({part.id for part in ast.walk(node) if isinstance(part, ast.Name)})


def _defines(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return [(alias.asname or alias.name).partition(".")[0] for alias in names]
        case ast.Assign() | ast.AnnAssign():
            return [
                part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
            ]
        case _:
            return []


def _imported(nodes: Iterable[ast.AST]) -> set[str]:
    """The modules of plugin packages that some code imports from."""
    found = {part.module or "" for node in nodes for part in ast.walk(node) if isinstance(part, ast.ImportFrom)}
    return {module for module in found if module.startswith(PLUGIN_PACKAGES)}


def _path(module: str) -> Path:
    return ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py")


@lru_cache
def _parsed(path: Path) -> ast.Module:
    """A source without comments, docstrings and layout."""
    return bare(path.read_text(encoding="utf-8"))


def bare(source: str) -> ast.Module:
    """The syntax tree of a source without its docstrings.

    >>> ast.unparse(bare("def f():\\n    'Doc.'\\n    return 1  # one")) == ast.unparse(bare("def f(): return 1"))
    True
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            first = body[0].value
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                node.body = body[1:] or [ast.Pass()]  # type: ignore[attr-defined]
    return tree

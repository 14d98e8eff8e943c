"""A source file as its syntax tree: what it defines and imports, and which names a statement binds."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

UNHASHED = {"annotation", "returns", "ctx", "kind", "type_comment"}  # fields of a syntax tree
NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)
SCOPES = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)  # what has variables of its own


@dataclass(frozen=True)
class Module:
    """One source file."""

    name: str
    file: Path

    @cached_property
    def body(self) -> list[ast.stmt]:
        """Its statements."""
        return ast.parse(self.file.read_bytes()).body

    @cached_property
    def definitions(self) -> Mapping[str, list[ast.stmt]]:
        """The statements that define or change each name; under "" those that only do something."""
        found: dict[str, list[ast.stmt]] = {}
        for node in self.body:
            if not isinstance(node, ast.Import | ast.ImportFrom) and not is_text(node) and not is_for_types(node):
                for name in set(stored(node)) or {""}:
                    found.setdefault(name, []).append(node)
        return found

    @cached_property
    def imports(self) -> Mapping[str, str]:
        """Each imported name with the dotted name it stands for, those for type checkers included."""
        statements = [node for each in self.body for node in (each.body if is_for_types(each) else [each])]
        return dict(pair for node in statements for pair in self.imported(node))

    def imported(self, node: ast.AST) -> Iterator[tuple[str, str]]:
        """(name, dotted name) of what one statement imports."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom):
            package = self.name if self.file.stem == "__init__" else self.name.rpartition(".")[0]
            source = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                yield alias.asname or alias.name, f"{source}.{alias.name}"


def chain(node: ast.expr) -> tuple[ast.expr | str, list[str]]:
    """`a.b.c` as ("a", [a, b, c]); where it hangs on something else than a name, that and what follows it."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return (node.id, [node.id, *parts]) if isinstance(node, ast.Name) else (node, parts)


def hashed(node: object) -> list[Any]:
    """What is hashed of a node: values, nodes and lists of them."""
    names = getattr(node, "_fields", ())
    return [getattr(node, name) for name in names if name not in UNHASHED]


def own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it that belong to the same scope."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, SCOPES):
            for value in hashed(node):
                waiting += value if isinstance(value, list) else [value]


def bound_name(node: ast.AST) -> str | None:
    """The name that one node binds where it stands."""
    if isinstance(node, ast.Name):
        return None if isinstance(node.ctx, ast.Load) else node.id
    return node.name if isinstance(node, NAMED) else None


def stored(node: ast.AST) -> Iterator[str]:
    """The names that a statement defines, or whose content it changes (`TABLE[key] = value`)."""
    for inner in own_nodes(node):
        if name := bound_name(inner):
            yield name
        elif isinstance(inner, ast.Attribute | ast.Subscript) and isinstance(inner.ctx, ast.Store):
            yield from (part.id for part in ast.walk(inner.value) if isinstance(part, ast.Name))


def is_text(node: ast.stmt) -> bool:
    """Whether a statement is a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def is_for_types(node: ast.stmt) -> TypeGuard[ast.If]:
    """Whether a statement is for type checkers only."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"

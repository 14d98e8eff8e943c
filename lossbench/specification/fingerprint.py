"""What a result depends on beside its settings: the code it ran and the libraries that computed it.

The digest of the code is one of definitions: of `execute`, of the functions of the plugins that a run uses, and of
every function, class and constant that these name, wherever it lies. A name stands there as what it means, not as what
an import called it, so that moving a module or importing it otherwise changes no digest; nor do comments, docstrings
and annotations. Classes that an annotation names are followed, because their methods run.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

from lossbench.plugins import Plugin
from lossbench.specification.source_file import Module, bound_name, chain, hashed, is_text, own_nodes, stored

LIBRARIES = ("torch", "pytorch-metric-learning", "numpy")
OF_BACKBONES = ("timm", "torchvision")  # libraries that a backbone of their name comes from
ROOT = Path(__file__).parents[1]
PACKAGE = "lossbench"
EXECUTE = f"{PACKAGE}.run.execution.execute"
# What a run knows by other means, or no figure depends on; what these name is not followed.
BOUNDARY = (
    f"{PACKAGE}.datasets.dataset.Dataset",  # data: by the checksum of their content
    f"{PACKAGE}.datasets.loading",
    f"{PACKAGE}.plugins",  # plugins found by name: by digests of their own
    f"{PACKAGE}.specification",  # settings: by their values
    f"{PACKAGE}.run.clock",  # seconds and bytes
    f"{PACKAGE}.run.sharding",  # of the same classes the same to rounding; `processes` and `negatives` are settings
    f"{PACKAGE}.run.device.environment",  # a record's note of where it was made
)
Scope: TypeAlias = Mapping[str, str | None]  # a name bound in a function to what it imports there; None: a variable
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension: TypeAlias = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@lru_cache
def library_versions(backbone: str = "") -> tuple[tuple[str, str], ...]:
    """(name, version) of the libraries that compute results, read without importing them.

    Args:
        backbone: whose own library, such as timm, is among them where it is installed.
    """
    own = [name for name in OF_BACKBONES if name == backbone.partition(":")[0]]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return tuple((name, importlib.metadata.version(name)) for name in (*LIBRARIES, *own))
    return library_versions()


def code_digest(plugins: Iterable[Plugin] = ()) -> str:
    """Digest of what a run with the given plugins executes, 16 hexadecimal digits.

    Plugins that lossbench does not ship are known by their file's checksum instead.
    """
    functions = (each.function for each in plugins if each.builtin)
    return _digest(frozenset(f"{function.__module__}.{function.__name__}" for function in functions))


@lru_cache
def _digest(functions: frozenset[str]) -> str:
    return _installed().digest([EXECUTE, *functions])


@lru_cache
def _installed() -> Sources:
    return Sources(ROOT)


class Definition(NamedTuple):
    """A function, class or constant at the top of a module."""

    module: str
    name: str


class Found(NamedTuple):
    """What a dotted name means: a definition, and what follows it."""

    definition: Definition
    rest: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """A definition without what is no part of the digest.

    Attributes:
        text: its syntax tree, every name replaced by what it means.
        names: the definitions that it names.
        types: the classes that its annotations name.
    """

    text: str
    names: tuple[Definition, ...]
    types: tuple[Definition, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the text alone."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class Sources:
    """The sources of the package that lie in a folder, read as far as they are asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._modules: dict[str, Module | None] = {}
        self._found: dict[str, Found | None] = {}
        self._readings: dict[Definition, Reading] = {}
        self._reached: dict[str, frozenset[str]] = {}

    def digest(self, names: Iterable[str]) -> str:
        """Digest of the definitions of those dotted names and of all that they reach.

        Raises:
            LookupError: a name that the package does not define.
        """
        lines = frozenset[str]().union(*map(self._lines, names))
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]

    def reached(self, name: str) -> set[Definition]:
        """The definition of that dotted name, and every one that it leads to."""
        waiting = [found.definition] if (found := self.find(name)) else []
        seen = set[Definition]()
        while waiting:
            definition = waiting.pop()
            if definition not in seen and not _beyond(definition):
                seen.add(definition)
                reading = self._read(definition)
                waiting += [*reading.names, *reading.types, Definition(definition.module, "")]
        return seen

    def find(self, dotted: str) -> Found | None:
        """What a dotted name means, through re-exports of packages; None where it is not of this package.

        Raises:
            LookupError: it is of this package and not there, or a module where something in it was meant.
        """
        if dotted not in self._found:
            self._found[dotted] = self._find(dotted) if dotted.partition(".")[0] == PACKAGE else None
        return self._found[dotted]

    def module(self, name: str) -> Module | None:
        """The module of that name; None where there is none."""
        if name not in self._modules:
            place = self._root.joinpath(*name.split(".")[1:])
            package = place / "__init__.py"
            file = package if package.is_file() else place.with_suffix(".py")
            self._modules[name] = Module(name, file) if file.is_file() else None
        return self._modules[name]

    def _find(self, dotted: str) -> Found | None:
        parts = dotted.split(".")
        for cut in range(len(parts) - 1, 0, -1):
            if (module := self.module(".".join(parts[:cut]))) is None:
                continue
            name, rest = parts[cut], parts[cut + 1 :]
            if name in module.definitions:
                return Found(Definition(module.name, name), tuple(rest))
            if name in module.imports:
                return self.find(".".join([module.imports[name], *rest]))
            break
        raise LookupError(f"{dotted}: no such definition; name what is used of a module")

    def _lines(self, name: str) -> frozenset[str]:
        if name not in self._reached:
            self._reached[name] = frozenset(self._line(definition) for definition in self.reached(name))
        return self._reached[name]

    def _line(self, definition: Definition) -> str:
        """A definition and what its names mean: two definitions may share a name."""
        reading = self._read(definition)
        named = [self._read(other).digest for other in dict.fromkeys(reading.names) if not _beyond(other)]
        return " ".join([reading.digest, *named])

    def _read(self, definition: Definition) -> Reading:
        if definition not in self._readings:
            module = self.module(definition.module)
            assert module is not None  # it was found there
            self._readings[definition] = _Reader(self, module).read(module.definitions.get(definition.name, ()))
        return self._readings[definition]


def _beyond(definition: Definition) -> bool:
    """Whether a definition lies beyond what is followed."""
    name = ".".join(definition)
    return any(name == limit or name.startswith(f"{limit}.") for limit in BOUNDARY)


class _Reader(ast.NodeVisitor):
    """Reads one definition of a module; every `visit` returns the text of a node."""

    def __init__(self, sources: Sources, module: Module) -> None:
        self._sources, self._module = sources, module
        self._scopes: list[Scope] = []
        self._names: list[Definition] = []
        self._types: list[Definition] = []

    def read(self, nodes: Iterable[ast.stmt]) -> Reading:
        text = self._each(nodes)
        return Reading(text, tuple(self._names), tuple(self._types))

    def generic_visit(self, node: ast.AST) -> str:
        fields = map(self._field, hashed(node))
        return f"{type(node).__name__}({','.join(filter(None, fields))})"  # other Pythons have other empty fields

    def visit_Name(self, node: ast.Name) -> str:
        return self._meaning([node.id])

    def visit_Attribute(self, node: ast.Attribute) -> str:
        base, parts = chain(node)
        return self._meaning(parts) if isinstance(base, str) else ".".join([self.visit(base), *parts])

    def visit_Import(self, node: ast.Import) -> str:
        return ""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> str:
        return ""

    def visit_Expr(self, node: ast.Expr) -> str:
        return "" if is_text(node) else self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
        self._follow(node.returns)
        decorators = self._each(each for each in node.decorator_list if not self._declares(each))
        return f"{node.name}({decorators}){self._function(node, node.body)}"

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815  # the name that ast calls

    def visit_Lambda(self, node: ast.Lambda) -> str:
        return f"lambda{self._function(node, [node.body])}"

    def visit_ClassDef(self, node: ast.ClassDef) -> str:
        head = [*node.decorator_list, *node.bases, *node.keywords]
        return f"class {node.name}({self._each(head)}){self._each(node.body, fields=True)}"

    def visit_arg(self, node: ast.arg) -> str:
        self._follow(node.annotation)
        return node.arg

    def visit_AnnAssign(self, node: ast.AnnAssign) -> str:
        """As the assignment it is; a bare annotation does nothing."""
        self._follow(node.annotation)
        return f"Assign([{self.visit(node.target)}],{self.visit(node.value)})" if node.value else ""

    def visit_ListComp(self, node: Comprehension) -> str:
        self._scopes.append(dict.fromkeys(name for each in node.generators for name in stored(each.target)))
        text = self.generic_visit(node)
        self._scopes.pop()
        return text

    visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_ListComp  # noqa: N815

    def _function(self, node: Function, body: Iterable[ast.AST]) -> str:
        arguments = self.generic_visit(node.args)  # defaults belong to the scope outside
        self._scopes.append(self._bound(node, body))
        text = self._each(body)
        self._scopes.pop()
        return f"{arguments}{text}"

    def _bound(self, function: Function, body: Iterable[ast.AST]) -> Scope:
        """The names that a function binds itself, functions in it left to themselves."""
        arguments = (each for each in ast.walk(function.args) if isinstance(each, ast.arg))
        found: dict[str, str | None] = {each.arg: None for each in arguments}
        shared = set[str]()
        for node in (inner for each in body for inner in own_nodes(each)):
            if name := bound_name(node):
                found[name] = None
            elif isinstance(node, ast.Import | ast.ImportFrom):
                found.update(self._module.imported(node))
            elif isinstance(node, ast.Global):
                shared.update(node.names)
        return {name: meaning for name, meaning in found.items() if name not in shared}

    def _each(self, nodes: Iterable[ast.AST], *, fields: bool = False) -> str:
        """A list of nodes; in the body of a class, `fields`, an annotated name is more than an assignment."""
        texts = [
            f"field {self.visit(node)}{self.visit(node.target)}"
            if fields and isinstance(node, ast.AnnAssign)
            else self.visit(node)
            for node in nodes
        ]
        return f"[{','.join(filter(None, texts))}]"

    def _field(self, value: object) -> str:
        if isinstance(value, ast.AST):
            return str(self.visit(value))
        if isinstance(value, list):
            return f"[{','.join(map(self._field, value))}]" if value else ""
        return "" if value is None else repr(value)

    def _meaning(self, parts: list[str]) -> str:
        """The text of a dotted name, and a note of the definition that it leads to."""
        if (found := self._located(parts)) is None:
            return ".".join([self._target(parts[0]) or parts[0], *parts[1:]])
        self._names.append(found.definition)
        return ".".join([found.definition.name, *found.rest])

    def _located(self, parts: list[str]) -> Found | None:
        target = self._target(parts[0])
        return self._sources.find(".".join([target, *parts[1:]])) if target else None

    def _target(self, name: str) -> str | None:
        """The dotted name that a name stands for; None for a variable or what Python itself has."""
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return f"{self._module.name}.{name}" if name in self._module.definitions else self._module.imports.get(name)

    def _declares(self, decorator: ast.expr) -> bool:
        """Whether a decorator registers a plugin: what it declares is in the specification."""
        base, parts = chain(decorator.func if isinstance(decorator, ast.Call) else decorator)
        found = self._located(parts) if isinstance(base, str) else None
        return found is not None and _beyond(found.definition)

    def _follow(self, annotation: ast.AST | None) -> None:
        """Note the classes that an annotation names."""
        if isinstance(annotation, ast.Name | ast.Attribute):
            base, parts = chain(annotation)
            found = self._located(parts) if isinstance(base, str) else None
            if found and self._is_class(found.definition):
                self._types.append(found.definition)
        elif annotation is not None:
            for part in ast.iter_child_nodes(annotation):
                self._follow(part)

    def _is_class(self, definition: Definition) -> bool:
        module = self._sources.module(definition.module)
        return module is not None and isinstance(module.definitions[definition.name][0], ast.ClassDef)

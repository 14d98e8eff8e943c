"""What a Python object is, written down: the source and the closed-over values of a function, the state of a module.

Two objects of one description behave alike, so that a run which used one stands for the other. What belongs to an
installed package is known by its name and the package's version; everything else by source and values, as deep as they
go. What has no value that can be written down, such as an open file, is refused.
"""

from __future__ import annotations

import dataclasses
import dis
import functools
import hashlib
import importlib.metadata
import inspect
import sys
import sysconfig
import textwrap
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lossbench.plugins.plugin import OBJECT, PluginError

PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), slice)
OF_CLASSES = {  # that say nothing of what instances do, or where they lie
    "__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annotations__", "__annotate_func__",
    "__annotations_cache__", "__firstlineno__", "__static_attributes__", "__parameters__", "__orig_bases__",
}  # fmt: skip
PACKAGES = tuple({Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib", "platstdlib")})


def identity(value: object) -> str:
    """A text that two objects share exactly where they have one description.

    Raises:
        PluginError: something in it has no value that can be written down; says where.
    """
    digest = hashlib.sha256()
    for part in _Description().of(value, "it"):
        digest.update(part.encode() + b"\n")
    return OBJECT + digest.hexdigest()


class _Description:
    """The description of one object; what was described before is a reference, so that cycles end."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._kept: list[object] = []  # so that no two objects have one id

    def of(self, value: Any, place: str) -> Iterator[str]:
        """The lines of a value, which messages call `place`."""
        if isinstance(value, PLAIN):
            yield f"{type(value).__name__} {value!r}"
            return
        if id(value) in self._seen:
            yield f"again {self._seen[id(value)]}"
            return
        self._seen[id(value)] = len(self._seen)
        self._kept.append(value)
        if (name := _installed(value)) is not None:
            yield name
            return
        parts = self._parts(value, place)
        if parts is None:
            raise PluginError(f"{place} is a {type(value).__name__}, whose value cannot be written down")
        yield from parts

    def _parts(self, value: Any, place: str) -> Iterator[str] | None:
        """The lines of anything that is neither plain nor installed; None where it has none."""
        match value:
            case types.FunctionType():
                return self._function(value, place)
            case types.MethodType():
                return self._all([value.__self__, value.__func__], place)
            case functools.partial():
                return self._all([value.func, value.args, value.keywords], place)
            case staticmethod() | classmethod():
                return self.of(value.__func__, place)
            case property():
                return self._all([value.fget, value.fset, value.fdel], place)
            case types.ModuleType():
                return iter([_file_of(value)])
            case type():
                return self._class(value, place)
            case Mapping():
                return self._all([type(value).__name__, *(part for item in value.items() for part in item)], place)
            case list() | tuple():
                return self._all([type(value).__name__, *value], place)
            case set() | frozenset():
                return iter([type(value).__name__, *sorted(identity(each) for each in value)])
        if (array := _array(value)) is not None:
            return iter([array])
        return self._instance(value, place) if _has_own_state(value) else None

    def _function(self, function: types.FunctionType, place: str) -> Iterator[str]:
        name = function.__name__
        code = function.__code__
        try:
            yield _source(code)
        except OSError as error:
            raise PluginError(f"{place}: {name} has no source that can be read") from error
        yield from _steps(code)  # two functions of one line have one source
        yield from self.of(function.__defaults__, f"a default of {name}")
        yield from self.of(function.__kwdefaults__, f"a default of {name}")
        names = zip(code.co_freevars, function.__closure__ or (), strict=True)
        for variable, cell in names:
            yield f"closes over {variable}"
            yield from self.of(_content(cell), f"{variable!r}, which {name} closes over,")
        for variable in sorted(_globals_of(code) & function.__globals__.keys()):
            yield f"names {variable}"
            yield from self.of(function.__globals__[variable], f"{variable!r}, which {name} names,")

    def _class(self, kind: type, place: str) -> Iterator[str]:
        yield kind.__name__
        yield from self._all(kind.__bases__, place)
        for name, value in sorted(vars(kind).items()):
            slot = isinstance(value, (types.GetSetDescriptorType, types.MemberDescriptorType))
            if name not in OF_CLASSES and not name.startswith("_abc_") and not slot:
                yield name
                yield from self.of(value, f"{kind.__name__}.{name}")

    def _instance(self, value: Any, place: str) -> Iterator[str]:
        yield from self.of(type(value), place)
        for name, own in vars(value).items():
            yield name
            yield from self.of(own, f"{type(value).__name__}.{name}")

    def _all(self, values: Iterable[Any], place: str) -> Iterator[str]:
        for value in values:
            yield from self.of(value, place)


@functools.lru_cache(maxsize=1024)  # a file may be edited while what it once held still runs
def _source(code: types.CodeType) -> str:
    return textwrap.dedent(inspect.getsource(code))


def _steps(code: types.CodeType) -> Iterator[str]:
    """What a function does, step by step."""
    yield f"{code.co_code.hex()} {code.co_names}"
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _steps(constant)
        elif isinstance(constant, PLAIN):
            yield repr(constant)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # of a variable that is not assigned yet
        return None


def _globals_of(code: types.CodeType) -> set[str]:
    """Names that a function and those inside it read from their module."""
    found = {each.argval for each in dis.get_instructions(code) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return found.union(*(_globals_of(each) for each in code.co_consts if isinstance(each, types.CodeType)))


def _installed(value: Any) -> str | None:
    """Name and version of what belongs to an installed package or to Python; None for anything else."""
    named = isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType))
    if not named and type(value).__name__ not in ("ufunc", "dtype", "device", "_OpNamespace", "memory_format"):
        return None
    home = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
    module = sys.modules.get(home or type(value).__module__)
    if module is None or not _is_installed(module):
        return None
    return f"{module.__name__} {getattr(value, '__qualname__', repr(value))} {_version(module)}"


def _is_installed(module: types.ModuleType) -> bool:
    """Whether a module is Python's or a package's, and so does not change without its version."""
    if module.__name__ == "__main__":
        return False
    if module.__name__.partition(".")[0] in ("lossbench", *sys.builtin_module_names):
        return True
    file = getattr(module, "__file__", None)
    return file is None or any(folder in Path(file).resolve().parents for folder in PACKAGES)


def _version(module: types.ModuleType) -> str:
    package = module.__name__.partition(".")[0]
    if package == "lossbench":  # which changes without a version
        return _file_of(module)
    for distribution in _distributions().get(package, ()):
        return f"{distribution} {importlib.metadata.version(distribution)}"
    return f"Python {sys.version_info.major}.{sys.version_info.minor}"


@functools.lru_cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _file_of(module: types.ModuleType) -> str:
    """A module of the user's own, by what is in its file; not by what that imports."""
    file = getattr(module, "__file__", None)
    return f"module {hashlib.sha256(Path(file).read_bytes()).hexdigest()}" if file else f"module {module.__name__}"


def _array(value: Any) -> str | None:
    """An array or a tensor by type, shape and bytes; None for anything else."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(value, torch.Tensor):
        flat = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        return f"tensor {value.dtype} {tuple(value.shape)} {value.requires_grad} {hashlib.sha256(flat).hexdigest()}"
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)) and not value.dtype.hasobject:
        return f"array {value.dtype.str} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    return None


def _has_own_state(value: Any) -> bool:
    """Whether an instance is what its class and its attributes say: a torch module, a dataclass, or of a user's class.

    Others, as an open file or a generator, may have state that no attribute shows.
    """
    torch = sys.modules.get("torch")
    module = torch is not None and isinstance(value, torch.nn.Module)
    own = not _is_installed(sys.modules.get(type(value).__module__, types.ModuleType("__main__")))
    return hasattr(value, "__dict__") and (module or dataclasses.is_dataclass(value) or own)

"""Where names of definitions lead: a file, its imports and the library, which is parsed a definition at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import NoReturn

from netlang.diagnostics import Source, fail, listing, nearest
from netlang.language import decode, index_definitions, parse, parse_definition
from netlang.language.tree import Definition, File, Import, Name

# kinds that are called alike share a namespace; `constant` may be an initializer and a schedule
_LARGEST = 1 << 26  # bytes of a text; a device has no end

NAMESPACES = {
    "layer": "callable",
    "fn": "callable",
    "loss": "callable",
    "metric": "callable",
    "net": "net",
    "train": "train",
    "optimizer": "optimizer",
    "schedule": "schedule",
    "penalty": "penalty",
    "initializer": "initializer",
}

Reader = Callable[[str], bytes]


class Library:
    """The standard library, or any set of sources whose definitions are parsed on first use."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._places: dict[tuple[str, str], tuple[Source, int, int]] = {}
        self._parsed: dict[tuple[str, str], Definition] = {}
        self.sources = dict(sources)
        for name, text in sorted(sources.items()):
            source = Source(f"netlang/library/{name}", text)
            for kind, word, start, end in index_definitions(source):
                self._places[NAMESPACES[kind], word] = source, start, end

    def find(self, namespace: str, name: str) -> Definition | None:
        key = namespace, name
        if key not in self._places:
            return None
        if key not in self._parsed:
            self._parsed[key] = parse_definition(*self._places[key])
        return self._parsed[key]

    def names(self, namespace: str) -> list[str]:
        return [word for space, word in self._places if space == namespace]

    def __iter__(self) -> Iterator[Definition]:
        for namespace, name in self._places:
            definition = self.find(namespace, name)
            assert definition is not None
            yield definition


@cache
def standard_library() -> Library:
    folder = resources.files("netlang") / "library"
    return Library({f.name: f.read_text("utf-8") for f in folder.iterdir() if f.name.endswith(".net")})


@dataclass(frozen=True, eq=False)
class Module:
    """A user's file: its own definitions, those of its imports, and the library behind them."""

    name: str
    definitions: Mapping[tuple[str, str], Definition]
    library: Library
    texts: Mapping[str, str] = field(default_factory=dict)  # every file read, by its path from the root
    own: tuple[Definition, ...] = ()  # of the file itself, in order

    def find(self, namespace: str, name: str) -> Definition | None:
        return self.definitions.get((namespace, name)) or self.library.find(namespace, name)

    def require(self, namespace: str, name: Name, what: str) -> Definition:
        found = self.find(namespace, name.id)
        if found is None:
            known = [*(n for s, n in self.definitions if s == namespace), *self.library.names(namespace)]
            fail(
                "unknown-name",
                f"no {what} is called `{name.id}`",
                name.span,
                help=nearest(name.id, known)
                or f"define it with `{namespace if namespace != 'callable' else 'layer'} {name.id}(...)`",
            )
        return found

    def nets(self) -> tuple[Definition, ...]:
        return tuple(d for d in self.own if d.kind == "net")

    def home(self, definition: Definition) -> Module:
        """The module in which a definition's own names are looked up: a user's layer does not change the library's."""
        return Module(self.name, {}, self.library) if self.is_library(definition.span.source) else self

    def is_library(self, source: Source) -> bool:
        return source.name.startswith("netlang/library/")


def load_module(path: str, read: Reader | None = None, library: Library | None = None) -> Module:
    """Read a `.net` file and its imports.

    `read` maps a path to bytes (by default the file system). An import is relative to the file that names it and must
    stay in the folder tree of the first file.
    """
    loader = _Loader(path, read or read_file)
    own = loader.load(os.path.basename(path), None)
    return Module(path, loader.definitions, library or standard_library(), loader.texts, own)


def module_from_text(text: str, name: str = "text.net", library: Library | None = None) -> Module:
    """A module from text alone; it can import nothing."""
    return load_module(name, lambda p: text.encode() if p == name else _missing(p), library)


class _Loader:
    def __init__(self, path: str, read: Reader) -> None:
        self.folder, self.read, self.first = os.path.dirname(path), read, path
        self.definitions: dict[tuple[str, str], Definition] = {}
        self.texts: dict[str, str] = {}
        self.loading: list[str] = []

    def load(self, relative: str, by: Import | None) -> tuple[Definition, ...]:
        """Load a file by its path from the root folder; returns its own definitions."""
        path = os.path.join(self.folder, relative) if by is not None else self.first
        source = decode(path, self._bytes(path, by))
        self.texts[relative] = source.text
        self.loading.append(relative)
        file: File = parse(source)
        for imported in file.imports:
            self._import(relative, imported)
        for definition in file.definitions:
            self._define(definition)
        self.loading.pop()
        return file.definitions

    def _bytes(self, path: str, by: Import | None) -> bytes:
        try:
            return self.read(path)
        except (OSError, ValueError) as error:
            if by is None:
                _unreadable(path, error)
            fail(
                "import-not-found",
                f"`{by.path.value}` {_reason(error)}",
                by.path.span,
                help="imports are relative to the file that names them",
            )

    def _import(self, importer: str, imported: Import) -> None:
        wanted = imported.path.value
        relative = os.path.normpath(os.path.join(os.path.dirname(importer), wanted))
        if os.path.isabs(wanted) or relative.startswith(".."):
            fail(
                "import-outside",
                f"`{wanted}` lies outside the folder of `{os.path.basename(self.first)}`",
                imported.path.span,
                help="move the file into the folder tree of the file that is compiled",
            )
        if relative in self.loading:
            chain = [*self.loading[self.loading.index(relative) :], relative]
            fail(
                "import-cycle",
                f"`{wanted}` imports itself: {' -> '.join(chain)}",
                imported.path.span,
                help="move what both files need into a third",
            )
        if relative not in self.texts:
            self.load(relative, imported)

    def _define(self, definition: Definition) -> None:
        key = NAMESPACES[definition.kind], definition.name.id
        if key in self.definitions:
            first = self.definitions[key]
            fail(
                "duplicate-definition",
                f"`{definition.name.id}` is defined twice",
                definition.name.span,
                notes=[f"first defined at {first.name.span}"],
                help="rename one of them",
            )
        self.definitions[key] = definition


def read_source(path: str) -> bytes:
    """The bytes of a file. Raises `NetlangError` (`file-not-found`)."""
    try:
        return read_file(path)
    except (OSError, ValueError) as error:
        _unreadable(path, error)


def choose_net(module: Module, name: str | None) -> Definition:
    """The net of a module's file that is meant. Raises `no-net`, `several-nets` or `unknown-name`."""
    nets = module.nets()
    if not nets:
        fail(
            "no-net",
            f"`{module.name}` defines no net",
            place=module.name,
            help="add `net Name:` with an input and an output",
        )
    if name is None:
        if len(nets) > 1:
            fail(
                "several-nets",
                f"`{module.name}` defines {len(nets)} nets: {listing(n.name.id for n in nets)}",
                place=module.name,
                help=f"say which: `--net {nets[0].name.id}`, in Python `net={nets[0].name.id!r}`",
            )
        return nets[0]
    for net in nets:
        if net.name.id == name:
            return net
    known = [n.name.id for n in nets]
    fail(
        "unknown-name",
        f"`{module.name}` defines no net `{name}`",
        place=module.name,
        help=nearest(name, known) or f"there are {listing(known)}",
    )


def read_file(path: str) -> bytes:
    """The bytes of a file that may be a text. Raises OSError or ValueError."""
    with open(path, "rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError("is larger than any text")
    return content


def _unreadable(path: str, error: OSError | ValueError) -> NoReturn:
    if isinstance(error, FileNotFoundError):
        fail("file-not-found", f"`{path}` does not exist", place=path, help="check the path and the current folder")
    fail("cannot-read", f"`{path}` {_reason(error)}", place=path, help="give the path of a `.net` file")


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, IsADirectoryError):
        return "is a folder"
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    return f"cannot be read: {(getattr(error, 'strerror', None) or str(error)).lower()}"


def _missing(path: str) -> bytes:
    raise FileNotFoundError(path)

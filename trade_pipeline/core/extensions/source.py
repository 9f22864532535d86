"""The version of an extension: a hash over its source and over what it imports of the same project.

Covered are the module, the packages around it and every module that import statements lead to, also
inside functions, as long as it lies in the same folder of `sys.path` as the extension.  Installed
libraries are not: of an installed extension only its own package is covered.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

_INSTALLED = {"site-packages", "dist-packages"}


def source_version(module: ModuleType) -> str:
    """16 hex digits over the names and the sources of an extension's modules."""
    digest = hashlib.sha256()
    for name, source in sorted(sources(module).items()):
        digest.update(name.encode() + b"\0" + str(len(source)).encode() + b"\0" + source)
    return digest.hexdigest()[:16]


def sources(module: ModuleType) -> dict[str, bytes]:
    """The source of every module that counts, by its name."""
    top = module.__name__.partition(".")[0]
    root = _folder(_spec(top))
    found: dict[str, bytes] = {}
    waiting = [module.__name__]
    while waiting:
        name = waiting.pop()
        if name in found or not _counts(name, top, root):
            continue
        spec = _spec(name)
        if spec is None:
            continue
        file = Path(spec.origin) if spec.has_location and spec.origin else None
        found[name] = source = b"" if file is None else file.read_bytes()
        waiting.extend(name[:dot] for dot, letter in enumerate(name) if letter == ".")
        if file is not None and file.suffix == ".py":
            package = name if spec.submodule_search_locations else name.rpartition(".")[0]
            waiting.extend(_imported(source, package))
    return found


def _counts(name: str, top: str, root: Path | None) -> bool:
    first = name.partition(".")[0]
    if first == top:
        return True
    folder = _folder(_spec(first))
    is_product = first == "trade_pipeline"
    return folder is not None and folder == root and not is_product and not _is_installed(folder)


def _is_installed(folder: Path) -> bool:
    return bool(_INSTALLED & set(folder.parts))


def _folder(spec: ModuleSpec | None) -> Path | None:
    """The folder of `sys.path` in which a top-level module or package lies."""
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve().parent
    return Path(spec.origin).resolve().parent if spec.has_location and spec.origin else None


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        # What the name imports is an attribute, or it is not there.
        return None


def _imported(source: bytes, package: str) -> Iterator[str]:
    """Absolute names of what a module's import statements may mean."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                module = ".".join([*parents, *([module] if module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names if alias.name != "*")

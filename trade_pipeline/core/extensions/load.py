"""The user's own modules: which are named, and what they hold.

Only modules that the user named are ever imported: settings and models that come out of the
database name classes, too, and what they name is not executed unless it is one of these.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import TypeVar

from trade_pipeline.core.errors import BadConfig, TradePipelineError
from trade_pipeline.core.extensions.source import source_version
from trade_pipeline.settings import ExtensionSettings

SETTING = "TRADE_PIPELINE_EXTENSIONS"
# Entry points of installed packages that are extensions.
GROUP = "trade_pipeline.extensions"

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_LOADED: dict[str, ModuleType] = {}
_VERSIONS: dict[str, str] = {}

T = TypeVar("T")


def loaded() -> dict[str, str]:
    """Import what is named; the version of each module's source by the module's name, sorted.

    Raises:
        BadConfig: a name is no module's, or a module cannot be imported.
    """
    for name in _named():
        if name not in _LOADED:
            _LOADED[name] = _import(name)
            # At once: what is imported is what counts, whatever becomes of the files.
            _VERSIONS[name] = source_version(_LOADED[name])
    return dict(sorted(_VERSIONS.items()))


def name_module(reference: str) -> None:
    """Add the module of ``module:Class`` to those that are named, for this process and those that
    it starts.

    Raises:
        BadConfig: it is no such reference.
    """
    module, _ = split(reference)
    if module not in _named():
        before = _setting()
        os.environ[SETTING] = f"{before},{module}" if before else module
        _named.cache_clear()


def class_of(reference: str, kind: type[T], field: str) -> type[T]:
    """The class that ``module:Class`` names, of a module that is named.

    Args:
        kind: what it must be derived from.
        field: of the settings, for messages.

    Raises:
        BadConfig: the module is not named or cannot be imported, or has no such class.
    """
    named = f"{field}={reference!r}"
    module, name = split(reference, field)
    loaded()
    if module not in _LOADED:
        others = ", ".join(sorted(_LOADED)) or "none"
        raise BadConfig(f"{named}: {SETTING} does not name the module {module!r} (it has {others})")
    found = getattr(_LOADED[module], name, None)
    if not (isinstance(found, type) and issubclass(found, kind)) or found is kind:
        raise BadConfig(f"{named}: {module} has no class {name!r} derived from {kind.__name__}")
    return found


def version_of(module: str) -> str:
    """The version of the source of a named module, or of the named package that holds it.

    Raises:
        BadConfig: neither is named.
    """
    versions, name = loaded(), module
    while name not in versions:
        name, dot, _ = name.rpartition(".")
        if not dot:
            raise BadConfig(f"{SETTING} does not name the module {module!r}")
    return versions[name]


def split(reference: str, field: str = "class") -> tuple[str, str]:
    """Module and class of ``module:Class``.

    Raises:
        BadConfig: it is no such reference.
    """
    module, colon, name = reference.partition(":")
    if not colon or not _MODULE.fullmatch(module) or not name.isidentifier():
        raise BadConfig(f"{field}={reference!r}: expected module:Class, such as my_strategy:Mine")
    return module, name


def error_line(error: BaseException) -> str:
    """An error in the user's code in one line, with the place in their file."""
    first = str(error).partition("\n")[0]
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_theirs(f.filename)]
    if isinstance(error, SyntaxError) and error.filename is not None:
        where = f" ({os.path.basename(error.filename)}:{error.lineno})"
    else:
        where = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {first}{where}"


def _is_theirs(file: str) -> bool:
    parts = file.replace(os.sep, "/").split("/")
    return not ({"trade_pipeline", "site-packages", "importlib"} & set(parts) or file[:1] == "<")


def _setting() -> str:
    return ExtensionSettings().extensions


@cache
def _named() -> tuple[str, ...]:
    """The modules of the setting, then those of installed packages."""
    given = [name for name in re.split(r"[,\s]+", _setting()) if name]
    for name in given:
        if name.endswith(".py") or not _MODULE.fullmatch(name):
            raise BadConfig(
                f"{SETTING}={name!r}: expected names of Python modules, such as my_strategy for "
                "my_strategy.py in the current folder"
            )
    installed = sorted(point.value for point in entry_points(group=GROUP))
    return tuple(dict.fromkeys([*given, *installed]))


def _import(name: str) -> ModuleType:
    folder = os.getcwd()
    if folder not in sys.path and "" not in sys.path:
        # Last, so that a file of the user's never takes the place of a library.
        sys.path.append(folder)
    try:
        return importlib.import_module(name)
    except TradePipelineError as error:
        raise BadConfig(f"extension {name!r}: {error}") from error
    except Exception as error:
        raise BadConfig(f"extension {name!r} does not import: {error_line(error)}") from error

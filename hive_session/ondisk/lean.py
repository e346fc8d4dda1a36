"""Keeps out of memory what a program of the suite never uses and its libraries would load all the same; for its first lines."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

OPENSSL = ("ssl", "_hashlib")  # together 4 to 5 MB of each process


def leave_out_tls() -> None:
    """Have this process be as one of a Python that was built without OpenSSL; nothing of the suite speaks TLS.

    To be called before asyncio is imported. asyncio, http.client, websockets and hashlib know such a Python: the hashes
    come from hashlib's own code then. Whoever cannot do without is told so: ModuleNotFoundError.
    """
    for name in OPENSSL:
        # None is the import system's own word for "there is none". What is loaded already stays.
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def load_when_used(name: str) -> None:
    """Have `import NAME` load the module PACKAGE.NAME only once something of it is used.

    importlib.util.LazyLoader does not serve: before Python 3.13 the import statement by itself is a use.
    """
    if name not in sys.modules:
        package, _, child = name.rpartition(".")
        sys.modules[name] = later = _Later(name)
        setattr(import_module(package), child, later)


class _Later(ModuleType):
    """Stands for a module until one of its names is wanted."""

    def __getattr__(self, wanted: str) -> Any:
        name = self.__name__
        if wanted.startswith("__"):
            raise AttributeError(f"{name} is not loaded yet")  # the import statement looks for such names
        if sys.modules.get(name) is self:
            del sys.modules[name]
        return getattr(import_module(name), wanted)

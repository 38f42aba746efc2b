"""Connections between nodes, and from clients to nodes.

websockets imports two modules for what is never done here (asking the environment for proxies, the version of a
development checkout). With all that they import in turn they are a tenth of a command's start and 3 MB of an agent, so
they are loaded only once somebody looks into them. (importlib.util.LazyLoader doesn't do: a second `import` is a look.)
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


def _put_off(name: str) -> None:
    if name in sys.modules:
        return
    stand_in = ModuleType(name)

    def look(attribute: str) -> Any:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    stand_in.__getattr__ = look  # type: ignore[method-assign]
    sys.modules[name] = stand_in
    parent, _, own = name.rpartition(".")
    setattr(importlib.import_module(parent), own, stand_in)


for _name in ("importlib.metadata", "urllib.request"):
    _put_off(_name)

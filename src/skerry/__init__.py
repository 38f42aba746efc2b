"""Skerry: one cloud without a centre, from a handful of cheap machines. The map of the rooms is docs/architecture.md.

`skerry.Client` and `skerry.AsyncClient` are the SDK (docs/api.md). They are loaded when they are asked for: every command
begins here, and so does the agent, which has no SDK. Types for editors: __init__.pyi.
"""

__version__ = "0.1.0"

_SDK = ("AsyncClient", "Client")


def __getattr__(name: str) -> object:
    if name in _SDK:
        import importlib

        return getattr(importlib.import_module("skerry.sdk"), name)
    raise AttributeError(f"module 'skerry' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_SDK]

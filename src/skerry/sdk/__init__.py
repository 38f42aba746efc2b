"""The SDK: `skerry.Client` and `skerry.AsyncClient` over what `client` does, and the values that they give (docs/api.md)."""

from skerry.sdk.asynchronous import AsyncClient
from skerry.sdk.synchronous import Client

__all__ = ["AsyncClient", "Client"]

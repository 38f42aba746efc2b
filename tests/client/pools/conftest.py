"""A small cloud whose pools are of the provider in docs/providers.md, and the operator who adds one."""

from __future__ import annotations

from client.test_pools import add, ann, bundle, folder, small

__all__ = ["add", "ann", "bundle", "folder", "small"]

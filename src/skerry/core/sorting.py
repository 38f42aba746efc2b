"""A mapping that is kept in the order of its keys: to change one of ten thousand costs a search, to read all of them a copy."""

from __future__ import annotations

from bisect import bisect_left
from typing import Generic, TypeVar

K = TypeVar("K", str, tuple[int, str])
V = TypeVar("V")


class Sorted(Generic[K, V]):
    def __init__(self) -> None:
        self._keys: list[K] = []
        self._items: list[tuple[K, V]] = []

    def put(self, key: K, value: V) -> None:
        at = bisect_left(self._keys, key)
        if at < len(self._keys) and self._keys[at] == key:
            self._items[at] = (key, value)
        else:
            self._keys.insert(at, key)
            self._items.insert(at, (key, value))

    def remove(self, key: K) -> None:
        """What is not there is not missed."""
        at = bisect_left(self._keys, key)
        if at < len(self._keys) and self._keys[at] == key:
            del self._keys[at], self._items[at]

    def items(self) -> list[tuple[K, V]]:
        return self._items

    def values(self) -> list[V]:
        return [value for _, value in self._items]

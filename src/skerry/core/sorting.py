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
        self._values: list[V] = []

    def put(self, key: K, value: V) -> None:
        at = bisect_left(self._keys, key)
        if at < len(self._keys) and self._keys[at] == key:
            self._items[at], self._values[at] = (key, value), value
        else:
            self._keys.insert(at, key)
            self._items.insert(at, (key, value))
            self._values.insert(at, value)

    def remove(self, key: K) -> None:
        """What is not there is not missed."""
        at = bisect_left(self._keys, key)
        if at < len(self._keys) and self._keys[at] == key:
            del self._keys[at], self._items[at], self._values[at]

    def items(self) -> tuple[tuple[K, V], ...]:
        return tuple(self._items)

    def values(self) -> tuple[V, ...]:
        return tuple(self._values)

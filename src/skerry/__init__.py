"""Skerry: one cloud without a centre, from a handful of cheap machines. The map of the rooms is docs/architecture.md."""

__version__ = "0.1.0"

"""Small clouds, whose power does not fail."""

from agent.unsynced import unsynced

__all__ = ["unsynced"]

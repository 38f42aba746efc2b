"""Small clouds, whose power does not fail."""

from agent.unsynced import unsynced
from client.conftest import cloud, session

__all__ = ["cloud", "session", "unsynced"]

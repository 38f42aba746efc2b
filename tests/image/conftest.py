"""Images of tests can be built again, so nothing waits for the disk; rooms about power cuts and full disks say so themselves."""

from agent.unsynced import unsynced

__all__ = ["unsynced"]

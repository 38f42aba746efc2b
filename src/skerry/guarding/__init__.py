"""The guard of exclusive slots: a process of its own, which ends what runs longer than its lease. It imports nothing of the agent."""

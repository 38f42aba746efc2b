"""The agent's side of the guard: who is guarded until when, and that there is a guard. The guard itself is skerry/guarding."""

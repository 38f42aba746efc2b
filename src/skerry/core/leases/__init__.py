"""Leases: who holds what, by the word of more than half of named voters. Not tied to slots: a lease is a name."""

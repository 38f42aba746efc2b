"""Machines on their way into a cloud and out of it: over SSH today, rented ones later. No signing, no decisions."""

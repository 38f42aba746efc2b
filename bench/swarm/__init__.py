"""Skerry beside Docker Swarm on the same three lab hosts, in one run."""

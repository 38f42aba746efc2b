"""Machines that this host keeps: asked of a provider, enrolled, given back."""

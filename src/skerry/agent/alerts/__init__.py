"""Alerts that core decided on, carried out: what this host is like told to core, letters sent, answers noted."""

"""Figures of this host and its slots: sampled each second, kept in rings on disk, given to whoever may ask."""

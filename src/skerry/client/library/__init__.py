"""What `skerry image` shows of the operator's own images, and does with them: one file an act. Building and storing are elsewhere."""

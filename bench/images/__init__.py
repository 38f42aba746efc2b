"""`make bench-images`: what images cost: bytes of an edit, of a patch release, of a first copy; sizes; lint."""

"""`skerry ui`: pages over a cloud, served to the browser of whoever holds the keys, on this machine alone."""

"""What containers wrote and what the host says: kept by slot, answered, sent on."""

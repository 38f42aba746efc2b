"""`make soak`: an hour of random faults, deploys and drains on whole machines; nothing may be lost, doubled or leaked."""

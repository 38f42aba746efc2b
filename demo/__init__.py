"""`make demo`: what Skerry is for, shown on this one machine with real parts. Uses the command `skerry` as a person would."""

"""What a node answers to `ps`, `hosts` and `explain`: rows of plain values, made when asked. Decides nothing."""

"""An image tried on this machine, without a cloud: one container, its published ports, and nothing left of it afterwards."""

"""Services at zero: who knocks is held until a replica is up."""

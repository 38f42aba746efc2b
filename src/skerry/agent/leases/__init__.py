"""Named leases for the containers of this host: who of them has which, and the sockets at which they ask."""

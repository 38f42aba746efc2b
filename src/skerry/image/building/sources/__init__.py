"""Where an image's parts come from: Debian's archive and package indexes, chosen once (the lock), fetched and checked by hash."""

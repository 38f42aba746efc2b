"""Tools beside a container or a host: whether one may run, its streams, its end, and the images that tools come from."""

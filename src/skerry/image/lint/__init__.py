"""What must not be in an image, and how it is found: the one verdict of builds, imports, deploys and nodes."""

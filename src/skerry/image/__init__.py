"""Images: minimal file trees known by digest, how they are built, and the root trees that containers run on."""

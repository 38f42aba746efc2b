"""From a recipe to an image, on the operator's side: what it is made of, which of it stays, how it is put together.

`build.py` is the way through: lock (`sources/`), build (`stage/`), closure (`rules/`), and back to `skerry.image` to pack and lint.
Hosts never come here.
"""

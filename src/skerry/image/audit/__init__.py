"""Known vulnerabilities of an image's packages, against a list that the user brings. Pure: bytes and parts in, findings out.

Nothing is fetched. A list is somebody else's file: bounded, and what of it can't be read is an error, never a clean bill.
"""

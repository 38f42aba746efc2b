"""Why something of a container can't be shown."""

from __future__ import annotations

from skerry.errors import BadInput, Passing, Refusal


class NotInThere(BadInput):
    """It isn't in the container, or the way to it leads nowhere in there."""

    code = "not-in-there"


class NotReadable(BadInput):
    """A device, pipe or socket, whose reading the application would notice, or one of the kernel's own file systems."""

    code = "not-readable"


class TooMuch(Refusal):
    """More than was allowed for."""

    code = "too-much"
    exit_code = 2


class NotWritable(Refusal):
    """Where the application can't write, nobody can: the image is read-only; or its disk is full."""

    code = "not-writable"


class NothingToSee(Passing):
    """It doesn't run, ended meanwhile, or this kernel can't show it."""

    code = "nothing-to-see"

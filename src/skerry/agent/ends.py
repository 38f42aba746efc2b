"""Why an agent ends by itself, though nobody stopped it."""

from __future__ import annotations

from skerry.errors import Passing
from skerry.trust.refusals import Expelled


class Overtaken(Passing):
    """The host's start count was lost, or its disk is a copy of an earlier time: neighbours know newer facts of it."""

    code = "overtaken"

    def __init__(self, me: str, heard: int, boot: int) -> None:
        super().__init__(
            f"the agent of {me} begins anew",
            f"others have heard it in its start {heard}, and this one it counts as its start {boot}",
            "nothing to do: it goes on above that number; look at the disk unless it was restored from a copy",
        )


def expelled(me: str) -> Expelled:
    return Expelled(
        f"the agent of {me} has ended",
        "this host was expelled from its cloud; its containers are left as they are",
        "skerry host rm cleans it up, skerry host add --readmit takes it back",
    )

"""What the lab refuses, each with its own code, and what it can't do for now. No work is done here."""

from __future__ import annotations

from collections.abc import Sequence

from skerry.errors import BadInput, NotInTime, Refusal


class LabError(Refusal):
    """Base of all that the lab refuses. Nothing was changed unless the subclass says otherwise."""

    code = "lab-refused"


class LabBadInput(LabError, BadInput):
    """A name, a rate, a number of hosts that can't be taken."""

    code = "lab-bad-input"
    exit_code = 2


class LabNeedsLinux(LabError):
    code = "lab-needs-linux"

    def __init__(self, system: str) -> None:
        super().__init__(
            "the lab can't run here",
            f"its hosts are made of Linux namespaces and cgroups, and this is {system}",
            "run it on a Linux machine, or inside a Linux virtual machine",
        )


class LabNeedsRoot(LabError):
    code = "lab-needs-root"

    def __init__(self) -> None:
        super().__init__(
            "the lab needs root",
            "it makes namespaces, mounts and cgroups for whole machines",
            "run the same command with sudo",
        )


class LabNeedsPackages(LabError):
    code = "lab-needs-packages"

    def __init__(self, programs: list[str], packages: list[str]) -> None:
        super().__init__(
            "programs that the lab needs are not installed",
            "missing: " + ", ".join(programs),
            "apt-get install --no-install-recommends " + " ".join(packages),
        )


class LabNeedsKernel(LabError):
    """The kernel or file system lacks what this one thing needs; everything else of the lab works."""

    code = "lab-needs-kernel"


class LabAlreadyUp(LabError):
    code = "lab-already-up"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"lab {name} is up already",
            "its hosts or their traces are still here",
            "see skerry lab status, or take it down first: skerry lab down",
        )


class LabNotUp(LabError):
    code = "lab-not-up"

    def __init__(self, name: str, others: Sequence[str] = ()) -> None:
        why = "there is no lab of that name on this machine"
        if others:
            super().__init__(f"lab {name} is not up", f"{why}, but {', '.join(others)}", f"name it: --lab {others[0]}")
        else:
            super().__init__(f"lab {name} is not up", why, "skerry lab up")


class LabUnknownHost(LabError, BadInput):
    code = "lab-unknown-host"
    exit_code = 2

    def __init__(self, host: str, known: list[str]) -> None:
        super().__init__(f"the lab has no host {host}", "its hosts are " + ", ".join(known), "skerry lab status")


class LabHostState(LabError):
    """The host is off and has to be on for this, or the other way round."""

    code = "lab-host-state"


class LabNotInTime(LabError, NotInTime):
    """A host did not boot, or did not end, by the limit. It may be there in part: `down` removes it."""

    code = "lab-not-in-time"
    exit_code = 5


class LabFailed(LabError):
    """A program that the lab runs (ip, nft, mmdebstrap ...) or a mount failed; `why` has its own words."""

    code = "lab-failed"

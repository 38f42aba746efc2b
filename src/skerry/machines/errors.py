"""What can go wrong with one machine on its way in or out, each with its own code. No work is done here."""

from __future__ import annotations

from skerry.errors import BadInput, NotInTime, Passing, Refusal, TrustRefusal, Unreachable


class BadTarget(BadInput):
    """Not the name of an SSH target."""

    code = "ssh-bad-target"

    def __init__(self, target: str) -> None:
        super().__init__(
            f"{target!r} is not an SSH target",
            "a target is user@host or user@host:port; an IPv6 address stands in brackets",
            "for example root@198.51.100.7, root@vps.example.net:2222 or root@[2001:db8::7]:22",
        )


class SshMissing(Refusal):
    """This machine has no ssh program."""

    code = "ssh-missing"


class SshWrongKey(Refusal):
    """The host takes none of our keys."""

    code = "ssh-wrong-key"


class SshHostKeyChanged(TrustRefusal):
    """The host shows another key than the one that is known."""

    code = "ssh-host-key-changed"


class SshHostKeyUnknown(TrustRefusal):
    """The host's key is not known, and nobody was there to say that it is right."""

    code = "ssh-host-key-unknown"


class SshHostKeyOther(TrustRefusal):
    """The host's key is not the one that was named."""

    code = "ssh-host-key-other"


class SshUnreachable(Unreachable):
    """No connection to the host's SSH server."""

    code = "ssh-unreachable"


class SshNotInTime(NotInTime):
    """What ran there had not ended by the limit."""

    code = "ssh-not-in-time"


class SshFailed(Passing):
    """ssh itself failed in a way that we have no better name for."""

    code = "ssh-failed"


class RemoteFailed(Refusal):
    """A program ran on the host and ended with an error. `exit_status`, `stderr`: what it said."""

    code = "remote-failed"

    def __init__(self, what: str, why: str, fix: str, *, exit_status: int, stderr: str) -> None:
        super().__init__(what, why, fix)
        self.exit_status = exit_status
        self.stderr = stderr


class NotRoot(Refusal):
    """We came in as somebody who may not do what is needed."""

    code = "host-not-root"


class HostLacks(Refusal):
    """The host has no systemd, another processor, or a kernel without what containers need."""

    code = "host-lacks"


class DiskFull(Refusal):
    """Too little room for the agent and one image."""

    code = "host-disk-full"


class PortTaken(Refusal):
    """Somebody else listens where the agent must."""

    code = "host-port-taken"


class OtherEnrolment(TrustRefusal):
    """The host is a node of another cloud."""

    code = "host-other-cloud"


class NotOurHost(TrustRefusal):
    """The machine behind the address is another node than the one that was meant."""

    code = "host-other-node"

    def __init__(self, target: str, name: str, node: str) -> None:
        super().__init__(
            f"{name} was not removed",
            f"{target} is {node} of some cloud, not this cloud's {name}",
            "say where ssh reaches it: --target root@ADDRESS",
        )


class BundleRefused(Refusal):
    """The bundle is not one, or did not arrive whole."""

    code = "bundle-refused"


class AgentFailed(Passing):
    """The agent was started and is not well; the host says why. Starting again may help."""

    code = "agent-failed"

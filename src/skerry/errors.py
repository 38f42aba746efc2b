"""The one shape of every error that a person or a program may meet. Any room may raise these; nothing else lives here.

An error says what was refused or failed, why, and how to mend it, and bears a stable code (never reused: `--json`,
docs/errors.md and tests rely on it). Whether trying again can help is told by its type: `Passing` may, `Refusal` can't.
Anything else that is raised is our own bug and must not be caught on the way.
"""

from __future__ import annotations

from typing import ClassVar


class SkerryError(Exception):
    """Base of all errors meant for users. `code` is stable; `exit_code` is what the command line ends with."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        return ": ".join(part for part in (self.what, self.why) if part)

    def as_dict(self) -> dict[str, str]:
        """For `--json` and for the wire: what, why, fix, code, and `passing` or `final`."""
        kind = "passing" if isinstance(self, Passing) else "final"
        return {"code": self.code, "what": self.what, "why": self.why, "fix": self.fix, "type": kind}


class Refusal(SkerryError):
    """Final: the same again will be refused again."""


class Passing(SkerryError):
    """Passing: worth another try, perhaps elsewhere or later."""


class BadInput(Refusal):
    """What a user, a file or a peer gave is not well formed."""

    code = "bad-input"
    exit_code = 2


class BadFormat(BadInput):
    """Bytes from outside that are not what their format promises."""

    code = "bad-format"


class NoSuchSubject(BadInput):
    """No slot, service, app, host or volume is called so."""

    code = "no-such-subject"


class TrustRefusal(Refusal):
    """Trust refused: a signature, a role, a version, a bound. Subclasses name the rule."""

    code = "trust-refused"
    exit_code = 3


class Unreachable(Passing):
    """No host, or not the one that is needed, could be reached."""

    code = "unreachable"
    exit_code = 4


class NotInTime(Passing):
    """It may still come to pass; it had not by the limit."""

    code = "not-in-time"
    exit_code = 5

"""Errors as RFC 9457 problems: the same code, what, why and fix as on the command line, and the HTTP status that goes with it."""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.errors import BadFormat, BadInput, NotInTime, Passing, Refusal, SkerryError, TrustRefusal, Unreachable

MEDIA_TYPE = "application/problem+json"
URN = "urn:skerry:error:"
RETRY_S = 2  # what is passing is worth another try after so long

# Codes whose status their kind doesn't tell.
STATUS = {
    "changed-meanwhile": 412,
    "image-not-found": 404,
    "image-refused": 422,
    "key-reused": 422,
    "media-type": 415,
    "method-not-allowed": 405,
    "no-token": 401,
    "not-allowed": 403,
    "no-cloud": 500,
    "too-large": 413,
}


class NoToken(Refusal):
    """A request to the API without a token that is known."""

    code = "no-token"


class NotAllowed(Refusal):
    """The token's roles don't cover it."""

    code = "not-allowed"


class MethodNotAllowed(BadInput):
    """The API has this path, but not with this method."""

    code = "method-not-allowed"


class NoSuchPath(BadInput):
    """The API has no such path."""

    code = "no-such-path"


class TooLarge(BadInput):
    """The body of a request to the API is larger than it may be."""

    code = "too-large"


class MediaType(BadInput):
    """The body of a request to the API is of another kind than is taken there."""

    code = "media-type"


class Malformed(BadFormat):
    """A request to the API is not what its description promises."""

    code = "bad-request"


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`type`: "urn:skerry:error:" and the code (docs/errors.md); `title`: what failed; `detail`: why; `fix`: what to do.

    `passing`: the same again, later, may succeed. `mistakes`: of a file, each with its line.
    """

    type: str
    title: str
    status: int
    detail: str = ""
    code: str
    fix: str = ""
    passing: bool = False
    mistakes: list[dict[str, Any]] = []


def problem_of(error: SkerryError) -> Problem:
    return Problem(
        type=URN + error.code,
        title=error.what,
        status=status_of(error),
        detail=error.why,
        code=error.code,
        fix=error.fix,
        passing=isinstance(error, Passing),
        mistakes=[mistake._asdict() for mistake in getattr(error, "mistakes", ())],
    )


def status_of(error: SkerryError) -> int:
    """By the code, else by the kind of error. What a host answered bears the host's exit code, so that goes first."""
    if error.code in STATUS:
        return STATUS[error.code]
    if error.code.startswith("no-such-"):
        return 404
    if isinstance(error, Malformed):
        return 400
    if isinstance(error, TrustRefusal) or error.exit_code == 3:
        return 403
    if isinstance(error, Unreachable) or error.exit_code == 4:
        return 503
    if isinstance(error, NotInTime) or error.exit_code == 5:
        return 504
    if isinstance(error, BadInput) or error.code == BadInput.code:  # a host's answer is of no kind
        return 422
    return 503 if isinstance(error, Passing) else 409


def headers_of(problem: Problem) -> dict[str, str]:
    headers = {"Retry-After": str(RETRY_S)} if problem.passing else {}
    headers |= {"Connection": "close"} if problem.status == 413 else {}  # else the rest of it would still be read
    return headers | ({"WWW-Authenticate": 'Bearer realm="skerry"'} if problem.status == 401 else {})

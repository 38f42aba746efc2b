"""requirements.txt: lines for pip, with other such files taken in. With hashes it is a lock, and is read as one.

Refused is what would make pip run a package's own code on this machine: folders, repositories and addresses, and options that
ask for sources.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from skerry.image.building.sources.environment import environment
from skerry.image.contract import BuildRefused

MAX_DEPTH = 8
MAX_LINES = 20_000
_TAKEN_IN = re.compile(r"(?:-r|--requirement)(?:\s+|=)(\S+)\Z")
_HASH = re.compile(r"\s--hash[= ](sha256:[0-9a-f]{64})(?=\s|\Z)")
_OPTIONS = (
    "-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--no-index", "--trusted-host", "--pre",
    "--prefer-binary", "--only-binary", "--require-hashes", "--use-feature",
)  # fmt: skip
_SOURCES = re.compile(
    r"(?:git|hg|svn|bzr)\+|[a-z]+://|\.{0,2}/|-e\b|--editable\b|\.\Z|.*\.(?:whl|zip|tar\.gz)(?:\s|;|\Z)"
)


def read(path: Path, context: Path) -> str:
    """The text for pip: without comments and files in files; with hashes, only the lines that count in an image.

    Raises BuildRefused, naming file and line.
    """
    lines = list(_lines(path, context, 0))
    hashed = any(" --hash" in line for _, line in lines)
    kept = []
    for where, line in lines:
        if line.startswith("-") and not _SOURCES.match(line):
            _check_option(line, where)
            kept.append(line)
            continue
        if _SOURCES.match(line):
            raise _source(line, where)
        try:
            need = Requirement(re.split(r"\s--?\w", line, maxsplit=1)[0].split(" #")[0].strip())
        except InvalidRequirement as error:
            raise BuildRefused(
                f"{where} can't be read",
                f"{line[:100]!r} is no requirement: {str(error).splitlines()[0]}",
                "mend that line",
            ) from error
        if need.url:
            raise _source(line, where)
        if hashed:
            if need.marker and not need.marker.evaluate(environment()):
                continue
            line = _pinned(need, line, where)
        kept.append(line)
    return "".join(f"{line}\n" for line in kept)


def _pinned(need: Requirement, line: str, where: str) -> str:
    hashes = sorted(set(_HASH.findall(line)))
    exact = [spec.version for spec in need.specifier if spec.operator in ("==", "===")]
    if not hashes or len(exact) != 1 or len(need.specifier) != 1 or "*" in exact[0]:
        raise BuildRefused(
            f"{where} can't be used",
            f"{need.name} has no one version (==) with a SHA-256, and others of that file have",
            "write all of them with hashes (pip-compile --generate-hashes, uv export), or none",
        )
    extras = f"[{','.join(sorted(need.extras))}]" if need.extras else ""
    return f"{need.name}{extras}=={exact[0]} {' '.join(f'--hash={text}' for text in hashes)}"


def _lines(path: Path, context: Path, depth: int) -> Iterator[tuple[str, str]]:
    """(file and line for people, logical line). Source: pip, requirements file format."""
    try:
        inside = path.resolve().is_relative_to(context.resolve())
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BuildRefused(f"{path} can't be read", str(error)) from error
    if not inside or depth > MAX_DEPTH:
        raise BuildRefused(f"{path} can't be read", "it is out of the project, or files take in each other in a circle")
    number, held, begun = 0, "", 0
    for number, raw in enumerate([*text.splitlines(), ""], 1):
        if number > MAX_LINES:
            raise BuildRefused(f"{path} can't be read", f"it has more than {MAX_LINES} lines")
        part = re.sub(r"(^|\s)#.*$", "", raw)
        begun = begun or number
        held += part.removesuffix("\\")
        if part.endswith("\\"):
            held += " "
            continue
        line, where, held, begun = held.strip(), f"{path.name}, line {begun}", "", 0
        if not line:
            continue
        if taken := _TAKEN_IN.match(line):
            yield from _lines(path.parent / taken[1], context, depth + 1)
        else:
            yield where, line


def _check_option(line: str, where: str) -> None:
    word = re.split(r"[\s=]", line, maxsplit=1)[0]
    if word not in _OPTIONS:
        raise BuildRefused(
            f"{where} can't be used",
            f"the option {word} is not taken",
            "write versions into the requirements themselves",
        )


def _source(line: str, where: str) -> BuildRefused:
    return BuildRefused(
        f"{where} can't be used",
        f"{line[:100]!r} comes from elsewhere than an index of packages: pip would run its code on this machine",
        "put its code into the project's folder, or depend on a version that was published",
    )

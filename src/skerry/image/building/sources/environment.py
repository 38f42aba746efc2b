"""The image's Python, as conditions in requirements and the names of wheels see it: the same wherever an image is built."""

from __future__ import annotations

import functools

from packaging.tags import Tag, compatible_tags, cpython_tags

PYTHON = "3.11"
PYTHON_FULL = "3.11.2"  # Debian 12 keeps it for its life
GLIBC_MINOR = 36  # of the image's Debian: wheels for an older glibc run, for a newer one don't


def platforms() -> list[str]:
    """The platform tags that fit, best first."""
    newer = [f"manylinux_2_{minor}_x86_64" for minor in range(GLIBC_MINOR, 16, -1)]
    return [*newer, "manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]


@functools.cache
def tags() -> tuple[Tag, ...]:
    """The tags of wheels that fit, best first."""
    version = (3, 11)
    found = [*cpython_tags(version, ["cp311"], platforms()), *compatible_tags(version, "cp311", platforms())]
    return tuple(dict.fromkeys(found))


def environment(python_version: str = PYTHON_FULL) -> dict[str, str]:
    """For markers. Source: PEP 508."""
    return {
        "implementation_name": "cpython",
        "implementation_version": python_version,
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": python_version,
        "python_version": python_version.rpartition(".")[0],
        "sys_platform": "linux",
    }

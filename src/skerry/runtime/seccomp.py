"""Which system calls a container may make: the data file's rules, filtered for a processor and for capabilities.

Pure but for reading our own data file once. What a container isn't allowed answers ENOSYS, so that programs fall back
to what they did before the call existed; calls that need a capability answer EPERM without it, as they would anyway.
32-bit calls are not allowed at all: nothing that Skerry builds is 32 bit, and each further architecture makes the
filter slower to load and is one more door.
Source: OCI runtime specification, config-linux.md, "Seccomp".
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import resources
from typing import Any

import msgspec

ARCHITECTURES = {"x86_64": ("amd64", "SCMP_ARCH_X86_64"), "aarch64": ("arm64", "SCMP_ARCH_AARCH64")}


class Argument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`valueTwo`: what the masked argument must be, for SCMP_CMP_MASKED_EQ; named as OCI names it."""

    index: int
    value: int
    op: str
    valueTwo: int = 0


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"with_": "with"}):
    """`with_`, `without`: capabilities that must all be there, or must none be there, for the rule to count."""

    names: tuple[str, ...]
    action: str
    errno: int = 1
    args: tuple[Argument, ...] = ()
    arches: tuple[str, ...] = ()
    with_: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: str
    default_errno: int
    rules: tuple[Rule, ...]


@functools.cache
def default_profile() -> Profile:
    """The profile that Skerry ships."""
    data = resources.files("skerry").joinpath("data/seccomp.json").read_bytes()
    return msgspec.json.decode(data, type=Profile)


def seccomp_for(profile: Profile, machine: str, capabilities: Sequence[str]) -> dict[str, Any] | None:
    """The `linux.seccomp` part of an OCI configuration; None on processors that the profile doesn't know.

    `machine`: as `os.uname().machine` says it.
    """
    if machine not in ARCHITECTURES:
        return None
    arch, name = ARCHITECTURES[machine]
    held = set(capabilities)
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": profile.default_errno,
        "architectures": [name],
        "syscalls": [_oci(rule) for rule in profile.rules if _counts(rule, arch, held)],
    }


def _counts(rule: Rule, arch: str, held: set[str]) -> bool:
    if rule.arches and arch not in rule.arches:
        return False
    return held.issuperset(rule.with_) and held.isdisjoint(rule.without)


def _oci(rule: Rule) -> dict[str, Any]:
    words: dict[str, Any] = {"names": list(rule.names)}
    if rule.action == "allow":
        words["action"] = "SCMP_ACT_ALLOW"
    else:
        words["action"] = "SCMP_ACT_ERRNO"
        words["errnoRet"] = rule.errno
    if rule.args:
        words["args"] = [msgspec.to_builtins(argument) for argument in rule.args]
    return words

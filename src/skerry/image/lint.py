"""What must not be in an image: shells, package managers, remote logins, compilers, debuggers, set-user-id programs.

For our own builds the rule needs no list: the executables are the declared entry points and the loader, anything else is
refused. For archives of others there are names, package databases and what programs call; `lint_foreign` says what it found.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable

from skerry.image.contract import BuildRefused
from skerry.image.elf import read_elf
from skerry.image.manifest import Tree


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SHELLS = _words("""
    ash bash busybox csh dash fish ksh ksh93 mksh mrsh nu rbash rc rksh sash sh static-sh tcsh toybox xonsh yash zsh
""")
TOOLS = _words("""
    apk apt apt-get aptitude conda dnf dpkg gem microdnf npm npx opkg pip pip3 pnpm rpm yarn yum zypper
    dropbear rlogin rsh scp sftp ssh sshd telnet telnetd
    as cc clang g++ gcc go ld make nasm rustc tcc
    curl ftp nc ncat netcat nmap socat tcpdump tftp tshark wget
    gdb lldb ltrace nsenter perf strace
    awk ed emacs gawk mawk nano perl vi vim
""")
DATABASES = re.compile(r"(?:var/lib/(?:dpkg|rpm|apt|pacman)|lib/apk/db|etc/apt|etc/apk)(?:/|\Z)")
# Strings that survive renaming, for those that are often linked statically.
VERSIONS = {
    b"BusyBox v": "busybox",
    b"GNU bash, version": "bash",
    b"OpenSSH_": "ssh",
    b"Dropbear": "dropbear",
    b"Tiny C Compiler": "tcc",
}
MAX_SCANNED_BYTES = 64 << 20
_VERSIONED = re.compile(r"(?:-[0-9][0-9.]*|[0-9.]+)\Z")


def lint_own(tree: Tree, declared: Iterable[str], *, init: bool = False) -> None:
    """Refuse a tree of ours with an executable that is neither declared nor the loader, or a shell or package database.

    `init`: it runs before a service, never as one: what it declares may be a shell.
    """
    allowed = set(declared)
    found = [entry.path for entry in tree.files() if entry.mode == 0o755 and entry.path not in allowed]
    found += [path for path, _ in unwanted_names(tree) if not init]
    found += [entry.path for entry in tree.entries if DATABASES.match(entry.path) and entry.kind != "d"][:1]
    if found:
        raise BuildRefused(
            "the image was refused",
            f"it has {', '.join(sorted(set(found))[:10])}, which is neither a declared entry point nor its loader",
            "name programs that shall run in `entrypoint` or `programs`; shells and tools never belong into an image",
        )


def lint_foreign(tree: Tree, read: Callable[[str], bytes]) -> list[str]:
    """What is wrong with an image that others made, one sentence for each finding, most serious first."""
    findings = [f"{path} is {kind}" for path, kind in unwanted_names(tree)]
    databases = sorted({found[0].rstrip("/") for entry in tree.entries if (found := DATABASES.match(entry.path))})
    findings += [f"{path} is a package database: a package manager made this" for path in databases]
    named = {path for path, _ in unwanted_names(tree)}
    for entry in tree.files():
        if entry.mode != 0o755 or entry.path in named or entry.size > MAX_SCANNED_BYTES:
            continue
        data = read(entry.sha256)
        if data[:2] == b"#!":
            findings.append(f"{entry.path} is a script that can be run")
        elif elf := read_elf(data):
            known = [name for text, name in VERSIONS.items() if text in data]
            calls = set(elf.calls)
            if known:
                findings.append(f"{entry.path} contains {known[0]}")
            elif "tcsetpgrp" in calls and calls & {"execve", "execv", "execvp"}:
                findings.append(f"{entry.path} controls jobs and starts programs, as a shell does")
            elif calls & {"ptrace", "process_vm_readv", "pcap_open_live"}:
                findings.append(f"{entry.path} can watch other processes or the network")
    return findings


def unwanted_names(tree: Tree) -> list[tuple[str, str]]:
    """(path, what it is) of programs and links that bear the name of a shell or tool, or lead to one."""
    found = []
    for entry in tree.entries:
        if entry.kind == "d" or (entry.kind == "f" and entry.mode != 0o755):
            continue
        names = [posixpath.basename(entry.path)]
        if entry.kind == "l":
            if posixpath.dirname(entry.path).rpartition("/")[2] not in ("bin", "sbin"):
                continue
            names.append(posixpath.basename(entry.link))
        for name in names:
            plain = _VERSIONED.sub("", name)
            if {name, plain} & SHELLS:
                found.append((entry.path, "a shell"))
                break
            if {name, plain} & TOOLS:
                found.append((entry.path, "a tool that an application does not need"))
                break
    return found

"""Names by which shells, tools and package databases are known. Tables and how a name is looked up in them, nothing else."""

from __future__ import annotations

import posixpath
import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORDS = {
    "shell": """
        ash bash bash-static busybox busybox.static csh dash elvish fish ksh ksh93 lksh loksh mksh mksh-static mrsh nu oksh
        pdksh posh pwsh rbash rc rksh sash sh static-sh tcsh toybox xonsh yash ysh zsh zsh-static
    """,
    "remote-login": """
        dbclient dropbear dropbearmulti mosh-server rlogin rlogind rsh rshd scp sftp sftp-server slogin ssh sshd telnet
        telnetd in.telnetd tinysshd
    """,
    "package-manager": """
        apk apt apt-cache apt-get aptitude brew cargo composer conda corepack dnf dnf5 dpkg dpkg-deb easy_install gem mamba
        microdnf micromamba nix nix-env npm npx opkg pacman pip pip3 pipx pnpm poetry rpm snap uv yarn yum zypper
    """,
    "compiler": """
        as c++ cc cc1 cc1plus clang clang++ cmake collect2 cpp g++ gcc gfortran gmake go gold javac ld ld.bfd ld.gold ld.lld
        lld make meson nasm ninja rustc tcc yasm
    """,
    "debugger": "bpftrace gdb gdbserver lldb lldb-server ltrace nsenter perf strace valgrind",
    "network-tool": """
        aria2c curl dumpcap ftp hping3 lftp masscan nc nc.openbsd nc.traditional ncat netcat nmap socat tcpdump tftp tshark
        wget wget2
    """,
    "editor": "ed emacs joe nano nvim pico vi vim vim.basic vim.nox vim.tiny",
    "interpreter": """
        awk bun deno expect gawk guile java lua luajit mawk node nodejs original-awk perl php pypy pypy3 python python2
        python3 ruby tclsh
    """,
}
KIND_OF = {name: kind for kind, words in _WORDS.items() for name in words.split()}

APPLETS = _words("""
    ash awk base64 basename cat chgrp chmod chown chroot clear cp cut date dd df diff dirname du echo egrep env expr false
    fgrep find free getopt grep gunzip gzip head hexdump hostname id ifconfig kill killall less ln login ls lsof md5sum mkdir
    mkfifo mknod mktemp more mount mv nc netstat nice nohup od passwd paste patch pidof ping printenv printf ps pwd readlink
    realpath renice rm rmdir route sed seq sh sha256sum sleep sort split stat strings stty su sum sync tac tail tar tee telnet
    test tftp time timeout top touch tr true tty umount uname uniq uptime vi wc wget which whoami xargs xz yes zcat
""")
"""Names that busybox and its like are called by."""
FEW_APPLETS = 5  # a program of so many of these names is one of their kind

_DATABASE = re.compile(
    r"((?:usr/)?(?:var/lib/(?:dpkg|rpm|apt|pacman|opkg)|lib/apk/db|lib/sysimage/rpm|lib/opkg)|etc/(?:apt|apk|yum\.repos\.d))(?:/|\Z)"
)
_MODULE = re.compile(
    r"(?:.*/)?(?:(?:site|dist)-packages/(pip)/__(?:init|main)__\.py"
    r"|node_modules/(npm|yarn|pnpm)/package\.json|(ensurepip)/_bundled/pip-[^/]*\.whl)\Z"
)
_TARGET = re.compile(r"[a-z0-9_]+(?:-[a-z0-9]+)?-linux-(?:gnu|musl)[a-z0-9]*-")  # "x86_64-linux-gnu-gcc-12"


def kind_of(path: str) -> str:
    """The kind of what bears the name of this path, "" for a name that says nothing: python3.11, gcc-12, x86_64-…-ld."""
    name = posixpath.basename(path)
    if target := _TARGET.match(name):
        name = name[target.end() :]
    return KIND_OF.get(name) or KIND_OF.get(name.rstrip("0123456789.").rstrip("-"), "")


def database_of(path: str) -> str:
    """The package database that this path is part of, "" for none."""
    found = _DATABASE.match(path)
    return found[1] if found else ""


def manager_of(path: str) -> str:
    """The package manager that is here as a module, which an interpreter runs without any program's name."""
    found = _MODULE.match(path)
    return next((name for name in found.groups() if name), "") if found else ""

"""Running the network's tools: argument lists in, text out, clear errors. Nothing here knows what a command means."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from skerry.errors import Passing


class Binaries(msgspec.Struct, frozen=True, kw_only=True):
    """Paths (or names on the PATH) of the tools. `nft` is run only where libnftables isn't found.

    `iptables_legacy` is the host's own, for firewalls that nftables can't see; it may be missing.
    """

    ip: str = "ip"
    nft: str = "nft"
    wg: str = "wg"
    wireguard_go: str = "wireguard-go"
    iptables_legacy: str = "iptables-legacy"


class CommandFailed(Passing):
    """A tool ended with an error, could not be started, or took too long. `output`: what it said (its end)."""

    code = "command-failed"

    def __init__(self, args: Sequence[str], output: str) -> None:
        super().__init__(
            what=f"{' '.join(args)} failed",
            why=output.strip()[-800:] or "it said nothing",
            fix="see what it complains about; `skerry doctor` looks at the usual reasons",
        )
        self.args_run = tuple(args)
        self.output = output


def run_now(args: Sequence[str], stdin: str = "", timeout_s: float = 10.0) -> str:
    """Run to the end, blocking; its stdout. Raises CommandFailed.

    For threads: a child started from a thread that sits in another network namespace is in that namespace, too.
    """
    try:
        done = subprocess.run(
            list(args), input=stdin, capture_output=True, text=True, timeout=timeout_s, errors="replace", check=False
        )
    except subprocess.TimeoutExpired:
        raise CommandFailed(args, f"not done after {timeout_s:.0f} s") from None
    except OSError as e:
        raise CommandFailed(args, str(e)) from None
    if done.returncode:
        raise CommandFailed(args, done.stderr or done.stdout or f"exit code {done.returncode}")
    return done.stdout


def write_setting(name: str, value: str) -> None:
    """Write /proc/sys/`name`, in the network namespace of this thread. Raises CommandFailed."""
    try:
        (Path("/proc/sys") / name).write_text(value)
    except OSError as e:
        raise CommandFailed(["sysctl", f"{name}={value}"], str(e)) from None


async def run(args: Sequence[str], stdin: str = "", timeout_s: float = 10.0) -> str:
    """`run_now` without blocking the loop. In a thread, as asyncio's own child processes cost a multiple of it."""
    return await asyncio.to_thread(run_now, args, stdin, timeout_s)

"""One question to the guard, and that it runs: as a unit of its own, which systemd watches and begins anew.

The unit is made by the agent when the first exclusive slot comes to the host, so a host without one has no guard to feed. It
is a transient one: after a reboot there is nothing to guard until an agent starts something.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import msgspec

from skerry.errors import Passing
from skerry.guarding.cutting import removed
from skerry.guarding.words import PACKET_MAX_BYTES, Answer, Ask, Kept, socket_path
from skerry.net.nft import Nft
from skerry.outside import UNREADABLE

UNIT = "skerry-leases"
ANSWER_WITHIN_S = 0.5  # it needs some milliseconds; one that stands still is begun anew by systemd meanwhile
WATCHDOG_S = 1.0
# Standing still, it can't take a signal but this one. Its reserve in leases is core's `guard_stop_s`: watchdog and start together.
PROPERTIES = (
    "Type=notify", "NotifyAccess=main", f"WatchdogSec={WATCHDOG_S:g}", "WatchdogSignal=SIGKILL", "Restart=always",
    "RestartSec=20ms", "StartLimitIntervalSec=0", "TimeoutStartSec=3", "TimeoutStopSec=2", "Nice=-15",
    "Description=Skerry guard of exclusive slots",
)  # fmt: skip


class NoGuard(Passing):
    """The guard of exclusive slots on this host isn't there, or did not confirm: nothing is started that nobody would end."""

    code = "no-guard"


async def ask(run: Path, wanted: tuple[Kept, ...] | None = None, within_s: float = ANSWER_WITHIN_S) -> Answer:
    """What the guard holds after it has taken in `wanted` (None: nothing new). Raises NoGuard."""
    loop = asyncio.get_running_loop()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as caller:
            async with asyncio.timeout(within_s):
                await loop.sock_connect(caller, str(socket_path(run)))
                await loop.sock_sendall(caller, msgspec.json.encode(Ask(wanted=wanted)))
                packet = await loop.sock_recv(caller, PACKET_MAX_BYTES)
    except TimeoutError:
        raise _silent(f"no answer within {within_s:g} s") from None
    except OSError as error:
        raise _silent(str(error)) from None
    return read_answer(packet)


def read_answer(packet: bytes) -> Answer:
    """Raises NoGuard."""
    try:
        answer = msgspec.json.decode(packet, type=Answer)
    except UNREADABLE as error:
        raise _silent(str(error)) from None
    if answer.refused:
        raise _silent(answer.refused)
    return answer


async def begin(run: Path) -> None:
    """Have the guard of this very version run. Raises NoGuard."""
    try:
        if (await ask(run)).program == sys.executable:
            return
        await _systemd("systemctl", "stop", UNIT)  # another version's: its folder may go soon
    except NoGuard:
        if await _is_active():
            return  # it is on its way back
    argv = ["systemd-run", f"--unit={UNIT}", "--collect", "--quiet"]
    argv += [f"--property={each}" for each in PROPERTIES]
    await _systemd(*argv, sys.executable, "-I", "-m", "skerry.guarding.guard", "--run", str(run))


async def end(nft: Nft) -> None:
    """For a host that leaves: the guard, and the rules that it has in the kernel. Raises NoGuard, CommandFailed."""
    if await _is_active():
        await _systemd("systemctl", "stop", UNIT)
    await nft.run(removed())


async def _is_active() -> bool:
    try:
        state = await _systemd("systemctl", "show", "-p", "ActiveState", "--value", UNIT)
    except NoGuard:
        return False
    return state.strip() in ("active", "activating", "deactivating", "reloading")


async def _systemd(*argv: str) -> str:
    """Raises NoGuard in systemd's words."""
    try:
        done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _silent(str(error)) from None
    if done.returncode:
        raise _silent(done.stderr.strip() or f"{argv[0]} ended with {done.returncode}")
    return done.stdout


def _silent(why: str) -> NoGuard:
    return NoGuard(
        "the guard of exclusive slots does not answer on this host", why, f"look there: journalctl -u {UNIT}"
    )

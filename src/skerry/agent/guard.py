"""The guard of an upgrade: a process of its own that tries the new agent, and goes back unless it rejoins in time.

It runs from the old bundle, in a unit of its own, so neither the new agent, nor a lost operator, nor a cut network stops it.
The trial is a drop-in in /run, which a reboot takes away: until it is decided, every way back leads to the old agent.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from skerry.agent.files import HostFiles
from skerry.agent.upgrade import HOME, REJOINED, TRIAL, TURNED_BACK, Trial, read_trial

SERVICE = "skerry.service"
UNIT = Path("/etc/systemd/system") / SERVICE
DROP_IN = Path("/run/systemd/system") / f"{SERVICE}.d"
POLL_S = 0.1


def guard(files: HostFiles) -> None:
    """Try, and keep or go back. Started again after it was killed, it tries again from the start."""
    trial = read_trial(files.run)
    if trial is None:
        return
    rejoined = files.run / REJOINED
    rejoined.unlink(missing_ok=True)
    DROP_IN.mkdir(parents=True, exist_ok=True)
    agent = f"{HOME}/{trial.after}/bin/skerry-agent"
    (DROP_IN / "trial.conf").write_text(f"[Service]\nExecStart=\nExecStart={agent} run --state {files.state}\n")
    _systemctl("daemon-reload")
    _systemctl("restart", "--no-block", SERVICE)
    end = time.monotonic() + trial.limit_s
    while not rejoined.exists() and time.monotonic() < end:
        time.sleep(POLL_S)
    if rejoined.exists():
        _keep(trial)
    else:
        _go_back(trial, files)
    (files.run / TRIAL).unlink()


def _keep(trial: Trial) -> None:
    """The new agent runs already: only what the next start does is changed. The one before stays, to go back to by hand."""
    text = subprocess.run([HOME / trial.after / "bin/skerry-agent", "unit"], check=True, capture_output=True).stdout
    new = UNIT.with_name(UNIT.name + ".new")
    new.write_bytes(text)
    new.replace(UNIT)
    link = HOME / "current.new"
    link.unlink(missing_ok=True)
    link.symlink_to(trial.after)
    link.replace(HOME / "current")
    shutil.rmtree(DROP_IN)
    _systemctl("daemon-reload")
    for old in HOME.iterdir():
        if old.is_dir() and not old.is_symlink() and old.name not in (trial.before, trial.after):
            shutil.rmtree(old, ignore_errors=True)


def _go_back(trial: Trial, files: HostFiles) -> None:
    why = f"agent {trial.after} had not rejoined after {trial.limit_s:.0f} s; back to {trial.before}"
    (files.run / TURNED_BACK).write_text(why)
    shutil.rmtree(DROP_IN)
    _systemctl("daemon-reload")
    _systemctl("restart", "--no-block", SERVICE)


def _systemctl(*argv: str) -> None:
    subprocess.run(["systemctl", *argv], check=True)

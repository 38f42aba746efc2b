"""`python -m soak.debugging`: every situation of docs/debugging.md is acted out on a lab cloud, and each command that the page shows
must still print what it shows. `REWRITE=1` writes what it prints now; read the difference.

How the page is read is soak/page.py; small guilty apps lie in soak/situations.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from demo.skerry import COMMAND, Skerry

from skerry.lab.lab import Lab
from soak.page import Act, Page, Show, Situation, Until, normal

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "debugging.md"
SITUATIONS = ROOT / "soak" / "situations"
HOSTS = 3
UNTIL_S = 120.0
SHOWN_S = 20.0
LOOK_S = 0.5


class NotAsShown(AssertionError):
    """A command prints other words than the page."""


class Stage:
    """A cloud on which situations are acted out, and the folder that the commands are typed in."""

    def __init__(self, lab: Lab, skerry: Skerry, work: Path, tell: Callable[[str], None] = print) -> None:
        self.lab, self.skerry, self.work, self._tell = lab, skerry, work, tell
        shutil.copytree(SITUATIONS, work, dirs_exist_ok=True)

    def play(self, situation: Situation, *, rewrite: bool = False) -> list[str]:
        """Act it out from its deploy to its end, and look at each command's words. Gives what differs; with `rewrite`, none."""
        differs: list[str] = []
        begun_s = time.monotonic()
        try:
            for step in situation.steps:
                match step:
                    case Act(verb, words):
                        self._act(verb, words)
                    case Until(command, regex):
                        self._until(command, regex)
                    case Show(command):
                        printed = self._shown(command, "" if rewrite else step.printed)
                        if rewrite:
                            step.printed = printed
                        elif normal(printed) != normal(step.printed):
                            differs.append(f"$ {command}\nthe page shows:\n{step.printed}\nit printed:\n{printed}\n")
        except NotAsShown as error:
            differs.append(str(error))
        finally:
            self._clear(situation)
        self._tell(f"{situation.title}: {time.monotonic() - begun_s:.0f} s" + (", NOT AS SHOWN" if differs else ""))
        return differs

    def _shown(self, command: str, wanted: str) -> str:
        """A cloud is never still: a moment later it may print what is wanted."""
        deadline_s = time.monotonic() + SHOWN_S
        while normal(printed := self.typed(command)) != normal(wanted) and wanted and time.monotonic() < deadline_s:
            time.sleep(LOOK_S)
        return printed

    def typed(self, command: str) -> str:
        """What a person at a terminal sees of it: output, then what was said beside it, then how it ended if not well."""
        path = f"{COMMAND.parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-c", command], cwd=self.work, env={**self.skerry.environment, "PATH": path, "COLUMNS": "120"},
            capture_output=True, text=True, errors="replace", timeout=UNTIL_S,
        )  # fmt: skip
        shown = done.stdout + done.stderr
        shown += f"[ended with {done.returncode}]\n" if done.returncode else ""
        return "\n".join(line.rstrip() for line in shown.splitlines()) + "\n"

    def _act(self, verb: str, words: Sequence[str]) -> None:
        if verb == "deploy":  # how it goes is shown by the commands that follow
            detach = " --detach" if "detach" in words else ""
            said = self.typed(f"skerry deploy --timeout 20s {words[0]}.yaml{detach}")
            if "accepted, kept by" not in said and "nothing to change" not in said:
                raise NotAsShown(f"{words[0]}.yaml was not deployed:\n{said}")
        elif verb == "kill":
            self.lab.kill(words[0])
        elif verb == "boot":
            self.lab.boot(words[0])
            self._until("skerry host ls", rf"{words[0]} +up")
        else:
            raise ValueError(f"the page asks for {verb!r}, which nobody can act")

    def _until(self, command: str, regex: str) -> None:
        import re

        deadline_s = time.monotonic() + UNTIL_S
        while not re.search(regex, printed := self.typed(command)):
            if time.monotonic() > deadline_s:
                raise NotAsShown(f"waited {UNTIL_S:g} s for {regex!r} in `{command}`, which prints\n{printed}")
            time.sleep(LOOK_S)

    def _clear(self, situation: Situation) -> None:
        for name in situation.apps:
            self.skerry.run("rm", name, ok=False, quiet=True)
            for volume in self.skerry.json("volume", "ls"):
                if volume["app"] == name:
                    self.skerry.run("volume", "rm", volume["node"], name, volume["volume"], "--yes", quiet=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", metavar="WORDS", help="situations with one of these words in their title")
    parser.add_argument("--name", default="debugging", help="of the lab")
    parser.add_argument(
        "--keep", action="store_true", help="leave the lab as it is at the end, or take it as it was left"
    )
    arguments = parser.parse_args()
    rewrite = bool(os.environ.get("REWRITE"))
    work, differs = ROOT / "build" / arguments.name, list[str]()
    page, lab = Page.read(PAGE), Lab(arguments.name)
    skerry = Skerry(work / "home", lambda line: print(f"      {line}"))
    if not (arguments.keep and work.exists()):
        lab.down()
        shutil.rmtree(work, ignore_errors=True)
        cloud(lab, skerry, work)
    try:
        stage = Stage(lab, skerry, work / "stage")
        wanted = [s for s in page.situations if not arguments.only or any(w in s.title for w in arguments.only.split())]
        for situation in wanted:
            differs += stage.play(situation, rewrite=rewrite)
            if rewrite:
                PAGE.write_text(page.text())
    finally:
        if not arguments.keep:
            lab.down()
    print("\n".join(differs))
    print(f"{len(wanted)} situations, {len(differs)} commands not as shown")
    return 1 if differs else 0


def cloud(lab: Lab, skerry: Skerry, work: Path) -> None:
    """Three machines that have joined."""
    work.mkdir(parents=True)
    images, downloads = work / "home" / "images", ROOT / "build" / "cache"
    images.mkdir(parents=True)
    downloads.mkdir(parents=True, exist_ok=True)
    (images / "cache").symlink_to(downloads)
    lab.up(HOSTS)
    skerry.run("init", "lab", "--recovery-file", str(work / "recovery.age"))
    for machine in lab.status():
        skerry.run(
            "host", "add", f"root@{machine.address}", "--name", machine.name, "--ssh-config", str(lab.ssh_config())
        )


if __name__ == "__main__":
    sys.exit(main())

"""A Dockerfile built by the operator's own buildah or docker, and saved as an archive that can be imported like any other.

What runs in there is the engine's matter: it has network, and the same file may give another image tomorrow. So nothing is promised
about it; the image's own digest, as the engine names it, is kept. Neither engine is needed by any other recipe.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from skerry.errors import Refusal
from skerry.image.building.stage.contract import EPOCH_S
from skerry.image.contract import BuildRefused

ENGINES = ("buildah", "docker")
ASKED_WITHIN_S = 20.0
LINES_KEPT = 20
MAX_LINE = 2000
_ID = re.compile(r"(?:sha256:)?([0-9a-f]{64})\Z")


class NoImageBuilder(Refusal):
    """A recipe asks for a Dockerfile to be built, and this machine has neither buildah nor a docker that answers."""

    code = "no-image-builder"


class DockerfileFailed(Refusal):
    """buildah or docker could not build or save it: their last lines are in the message."""

    code = "dockerfile-failed"


class Wish(msgspec.Struct, frozen=True):
    """Which Dockerfile, as `docker build` has it: `file` below the context, `target` a stage of it, `args` for its ARGs."""

    file: str = "Dockerfile"
    target: str = ""
    args: dict[str, str] = {}


class FromEngine(msgspec.Struct, frozen=True):
    """`archive`: a docker-archive. `image`: what the engine calls it ("sha256:…" of its config). `engine`: its name and version."""

    archive: Path
    image: str
    engine: str


def build_dockerfile(
    wish: Wish, context: Path, cache: Path, progress: Callable[[str], None], engines: Sequence[str] = ENGINES
) -> FromEngine:
    """Build it with the first engine that is there. `progress` gets its lines. Raises NoImageBuilder, DockerfileFailed."""
    path = context / wish.file
    if not path.is_file() or not path.resolve().is_relative_to(context.resolve()):
        raise BuildRefused(f"{path} can't be built", "the project has no such file", "see `file` in the recipe")
    engine, version = find_engine(engines)
    folder = cache / "dockerfile"
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / f".{os.getpid()}.id"
    options = ["--file", str(path), "--iidfile", str(note)]
    options += ["--target", wish.target] if wish.target else []
    for name, value in sorted(wish.args.items()):
        options += ["--build-arg", f"{name}={value}"]
    try:
        progress(f"building {wish.file} with {engine} {version}")
        # buildah keeps no layers and writes the time into the image unless it is told; docker's own cache does both.
        verb = ["bud", "--layers", f"--timestamp={EPOCH_S}"] if engine == "buildah" else ["build"]
        _run([engine, *verb, *options, str(context)], progress)
        found = _ID.match(note.read_text().strip()) if note.is_file() else None
    finally:
        note.unlink(missing_ok=True)
    if found is None:
        raise DockerfileFailed(f"{wish.file} was not built", f"{engine} named no image")
    archive = folder / f"{found[1]}.tar"
    if not archive.is_file():
        part = folder / f".{found[1]}.{os.getpid()}.part"
        try:
            if engine == "buildah":
                _run([engine, "push", found[1], f"docker-archive:{part}:skerry:build"], lambda line: None)
            else:
                _run([engine, "save", "--output", str(part), f"sha256:{found[1]}"], lambda line: None)
            part.replace(archive)
        finally:
            part.unlink(missing_ok=True)
    return FromEngine(archive, f"sha256:{found[1]}", f"{engine} {version}")


def find_engine(engines: Sequence[str] = ENGINES) -> tuple[str, str]:
    """(name, version) of the first that works. Raises NoImageBuilder, saying why each doesn't."""
    reasons = []
    for engine in engines:
        if shutil.which(engine) is None:
            reasons.append(f"{engine} isn't installed")
            continue
        # docker's own command may be there without its daemon, which is what builds.
        words = ["--version"] if engine == "buildah" else ["version", "--format", "{{.Server.Version}}"]
        try:
            asked = subprocess.run(
                [engine, *words], capture_output=True, text=True, timeout=ASKED_WITHIN_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            reasons.append(f"{engine} doesn't answer: {error}")
            continue
        if asked.returncode == 0 and (version := re.search(r"\d[\w.+~-]*", asked.stdout)):
            return engine, version[0]
        said = (asked.stderr or asked.stdout).strip().splitlines()
        reasons.append(f"{engine} doesn't work: {said[-1][:200] if said else asked.returncode}")
    raise NoImageBuilder(
        "the Dockerfile can't be built here",
        "; ".join(reasons),
        "write a recipe that needs neither (python, node, static, debian: see docs/images.md), or install one of them, "
        "or build it elsewhere and save it: recipe archive",
    )


def _run(command: Sequence[str], progress: Callable[[str], None]) -> None:
    lines: deque[str] = deque(maxlen=LINES_KEPT)
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        assert process.stdout
        for line in process.stdout:
            if text := line.rstrip()[:MAX_LINE]:
                lines.append(text)
                progress(text)
        code = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if code:
        raise DockerfileFailed(
            f"{' '.join(command[:2])} failed with exit code {code}",
            "".join(f"\n  {line}" for line in lines).strip(),
            "mend what it complains about; the same command by hand says more",
        )

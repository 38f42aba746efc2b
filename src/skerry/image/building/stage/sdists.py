"""A Python package's source archive to a wheel, in the build stage: its own backend, with wheels that were locked beside it.

No pip in there: the backend's hooks are called as PEP 517 says. Fixed paths and times make two builds equal.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from skerry.image.building.pile import File, file_of
from skerry.image.building.sources.lock import Deb, Sdist, Wheel
from skerry.image.building.sources.sdists import BuildSystem, build_system, sources_of
from skerry.image.building.sources.wheels import unpack_wheel, wheel_path
from skerry.image.building.stage.contract import PLACE, Job, Limits, Sandbox
from skerry.image.building.stage.run import kept_result, run_stage
from skerry.image.contract import BuildRefused
from skerry.image.kept import write_whole
from skerry.outside import UNREADABLE

PYTHON = "/usr/bin/python3.11"
PACKAGES = ("g++", "gcc", "libc6-dev", "make", "pkg-config", "python3.11", "python3.11-dev")
_NAME = re.compile(r"[A-Za-z0-9_.]+-[A-Za-z0-9_.!+]+(?:-\d\w*)?-[\w.]+-[\w.]+-[\w.]+\.whl\Z")

_DRIVER = """
import contextlib, importlib, json, os, sys
what, backend, *paths = sys.argv[1:]
os.chdir("src")
sys.argv[:] = ["setup.py"]
sys.path[:0] = [os.path.abspath(path) for path in paths]
with contextlib.suppress(ImportError):
    import setuptools  # brings the distutils that Debian's Python lacks
module, _, inner = backend.partition(":")
hooks = importlib.import_module(module)
for name in filter(None, inner.split(".")):
    hooks = getattr(hooks, name)
os.makedirs("../out", exist_ok=True)
if what == "requires":
    found = getattr(hooks, "get_requires_for_build_wheel", lambda settings: [])(None)
    with open("../out/requires.json", "w") as out:
        json.dump(list(found), out)
else:
    print("made", hooks.build_wheel(os.path.abspath("../out"), None, None))
"""


class StageBuilder:
    """`sources.sdists.Builder` by the build stage. `debs`: locked packages of its root, with PACKAGES among them."""

    def __init__(
        self,
        debs: Callable[[], Sequence[Deb]],
        environment: dict[str, str],
        limits: Limits,
        cache: Path,
        sandbox: Sandbox,
        progress: Callable[[str], None],
    ) -> None:
        self._debs = debs
        self._environment = environment
        self._limits = limits
        self._cache = cache
        self._sandbox = sandbox
        self._progress = progress

    def requires(self, sdist: Sdist) -> list[str]:
        job = self._job(sdist, "requires", "out/requires.json")
        (found,) = run_stage(job, cache=self._cache, sandbox=self._sandbox, progress=self._progress)
        try:
            return msgspec.json.decode(found.load(), type=list[str])
        except UNREADABLE as error:
            raise BuildRefused(
                f"{sdist.file} can't be built", f"its backend asks for no list of names: {error}"
            ) from error

    def wheel(self, sdist: Sdist) -> Wheel:
        self._progress(f"building {sdist.name} {sdist.version} from source")
        job = self._job(sdist, "wheel", "out/*.whl")
        return _keep(
            sdist, run_stage(job, cache=self._cache, sandbox=self._sandbox, progress=self._progress), self._cache
        )

    def kept(self, sdist: Sdist) -> bool:
        """Was it built before?"""
        return kept_result(self._job(sdist, "wheel", "out/*.whl"), self._cache) is not None

    def _job(self, sdist: Sdist, what: str, output: str) -> Job:
        sources = sources_of(sdist, self._cache)
        system = build_system(sources)
        files = [_below("src", file) for file in sources]
        for wheel in sdist.requires:
            files += unpack_wheel(wheel, self._cache, "site")
        command = (PYTHON, "driver.py", what, system.backend, *_paths(sdist, system))
        environment = {"PYTHONPATH": f"{PLACE}/site", "CC": "gcc", "CXX": "g++"}
        return Job(
            debs=tuple(self._debs()),
            files=(*files, file_of("driver.py", _DRIVER.encode(), "skerry")),
            commands=(command,),
            outputs=(output,),
            environment=environment | self._environment,
            limits=self._limits,
        )


def _paths(sdist: Sdist, system: BuildSystem) -> list[str]:
    if any(path.startswith("/") or ".." in path.split("/") for path in system.path):
        raise BuildRefused(f"{sdist.file} can't be built", "its backend-path leaves it")
    # The old way ran setup.py, which finds its neighbours; the new one doesn't. Source: PEP 517, "Build backend interface"
    return list(system.path) or ([""] if system.backend.endswith("__legacy__") else [])


def _keep(sdist: Sdist, outputs: Sequence[File], cache: Path) -> Wheel:
    if len(outputs) != 1 or not _NAME.match(outputs[0].path.rpartition("/")[2]):
        raise BuildRefused(
            f"{sdist.file} can't be built", f"its backend left {len(outputs)} wheels, or one with an odd name"
        )
    data, file = outputs[0].load(), outputs[0].path.rpartition("/")[2]
    wheel = Wheel(sdist.name, sdist.version, hashlib.sha256(data).hexdigest(), len(data), file)
    if not wheel_path(wheel, cache).is_file():
        write_whole(wheel_path(wheel, cache), data)
    return wheel


def _below(folder: str, file: File) -> File:
    return File(f"{folder}/{file.path}", file.kind, file.link, file.sha256, file.size, file.origin, file.load)

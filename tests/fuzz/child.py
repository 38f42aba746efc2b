"""One target in a process of its own, under atheris: `python -m fuzz.child TARGET FOLDER [libFuzzer's options]`.

A find is any exception but a SkerryError, more than a second of processor time, or more than 256 MiB beyond what the process had. It
is written to FOLDER/finds, each kind once, and the run goes on: so one bug does not hide the next.
"""

from __future__ import annotations

import hashlib
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

import msgspec

SLOW_S = 1.0
MEMORY_BYTES = 256 << 20
KINDS_MAX = 20
INPUT_BYTES = 65536


class Find(msgspec.Struct):
    """`kind`: what it is known by; `told`: the whole traceback."""

    kind: str
    told: str
    data: bytes


class Watch:
    """Calls the target, and notes what it must not do."""

    def __init__(self, run: Callable[[bytes], object], finds: Path) -> None:
        self._run, self._finds, self._kinds = run, finds, set[str]()

    def __call__(self, data: bytes) -> None:
        began_s = time.perf_counter()
        try:
            self._run(data)
        except Exception as error:
            self._note(data, kind_of(error), traceback.format_exc())
        if time.perf_counter() - began_s > SLOW_S:  # others have the processors: so once more, by what it takes of them
            began_s = time.process_time()
            try:
                self._run(data)
            except Exception as error:
                self._note(data, kind_of(error), traceback.format_exc())
            if (took_s := time.process_time() - began_s) > SLOW_S:
                self._note(data, f"{took_s:.0f} s of processor time", "")

    def _note(self, data: bytes, kind: str, told: str) -> None:
        if kind not in self._kinds and len(self._kinds) < KINDS_MAX:
            self._kinds.add(kind)
            self._finds.mkdir(parents=True, exist_ok=True)
            name = hashlib.sha256(data).hexdigest()[:16]
            (self._finds / name).write_bytes(msgspec.msgpack.encode(Find(kind, told[-6000:], data)))


def kind_of(error: BaseException) -> str:
    """The exception and the last place of ours that it went through."""
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if "/skerry/" in frame.filename]
    at = f"{places[-1].filename.rpartition('/skerry/')[2]}:{places[-1].lineno}" if places else "the target itself"
    return f"{type(error).__name__} at {at}"


class Instrumenting(MetaPathFinder):
    """Only these modules tell atheris where a run went: it has no such choice below a whole package, and that is ten times slower."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in self._names:
            return None
        spec = PathFinder.find_spec(name, path, target)
        assert spec is not None and isinstance(spec.loader, SourceFileLoader)
        spec.loader = Instrumented(spec.loader.name, spec.loader.path)
        return spec


class Instrumented(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType | None:
        from atheris.instrument_bytecode import patch_code

        code = super().get_code(fullname)
        return patch_code(code, True) if code is not None else None  # with comparisons, for atheris to solve


def main() -> None:
    name, folder, options = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    import atheris

    from fuzz.covers import COVERS

    if Path("/dev/shm").is_dir():  # what is written and read back within a run need not reach a disk
        tempfile.tempdir = "/dev/shm"
    sys.meta_path.insert(0, Instrumenting({f"skerry.{module}" for module in COVERS[name]}))
    from fuzz import targets

    live = folder / "corpus"
    live.mkdir(parents=True, exist_ok=True)
    begin = targets.begin_with(name)
    for data in begin:
        (live / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    watch = Watch(lambda data: targets.run(name, data), folder / "finds")
    for data in begin:
        watch(data)  # all is imported, and every cache is filled, before memory is bounded
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_size_bytes() + MEMORY_BYTES, hard))
    longest = max(4096, *(2 * len(data) for data in begin))
    atheris.Setup(
        [
            "fuzz", f"-max_len={min(longest, INPUT_BYTES)}", "-timeout=120", "-rss_limit_mb=0", "-print_final_stats=1",
            f"-artifact_prefix={folder}/stopped-", *options, str(live),
        ],
        lambda data: watch(bytes(data)),
    )  # fmt: skip
    atheris.Fuzz()


def _size_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    main()

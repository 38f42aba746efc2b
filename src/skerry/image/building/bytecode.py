"""Compiled Python modules, made by the image's own interpreter, the same everywhere: it saves 0.35 s at each start.

A read-only root never caches, so what isn't shipped is paid for at every start. The interpreter comes from the
packages, runs by its own loader from the download cache (no root rights; Linux on x86-64 only), and executes nothing
of what it compiles. Each module is compiled in a process of its own: what `marshal` writes depends on who else holds
a constant. The agent's modules are `bare`: without the docstrings of functions and classes, 2 MB of memory that
nobody reads there. (Asserts stay, so it isn't `-OO`.)
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from skerry.image.building.closure import Closure
from skerry.image.building.pile import Pile
from skerry.image.building.rules.python import PROGRAM, STDLIB
from skerry.image.kept import keep, kept, part_of

TAG = "cpython-311"
TIMEOUT_S = 120
PARALLEL = 2

# In: name, length, source; out: length, .pyc, or after a "!" (no .pyc begins so) why it doesn't compile. The .pyc is
# "unchecked": it names the hash of its source but nobody compares, so times don't matter. Source: PEP 552.
_DRIVER = """
import sys, os, _ast, _imp, _frozen_importlib_external as external
take, give = sys.stdin.buffer, sys.stdout.buffer
BARE = sys.argv[1] == "bare"
DOCUMENTED = (_ast.FunctionDef, _ast.AsyncFunctionDef, _ast.ClassDef)
def strip(node):
    if isinstance(node, DOCUMENTED):
        first = node.body[0]
        if isinstance(first, _ast.Expr) and isinstance(first.value, _ast.Constant) and isinstance(first.value.value, str):
            place = dict(lineno=first.lineno, col_offset=0, end_lineno=first.lineno, end_col_offset=0)
            node.body[:1] = [] if node.body[1:] else [_ast.Pass(**place)]
    for name in node._fields:
        value = getattr(node, name, None)
        for child in value if isinstance(value, list) else (value,):
            if isinstance(child, _ast.AST):
                strip(child)
while name := take.readline():
    source = take.read(int(take.readline()))
    reader, writer = os.pipe()
    if os.fork() == 0:
        with open(writer, "wb") as out:
            try:
                tree = source
                if BARE:
                    tree = compile(source, name[:-1].decode(), "exec", _ast.PyCF_ONLY_AST, dont_inherit=True)
                    strip(tree)
                code = compile(tree, name[:-1].decode(), "exec", dont_inherit=True, optimize=0)
                digest = _imp.source_hash(external._RAW_MAGIC_NUMBER, source)
                out.write(external._code_to_hash_pyc(code, digest, False))
            except (SyntaxError, ValueError, LookupError, RecursionError) as error:
                line = getattr(error, "lineno", None)
                why = getattr(error, "msg", None) or str(error)
                out.write(f"!line {line}: {why}"[:300].encode() if line else b"!" + why[:300].encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as result:
        data = result.read()
    os.wait()
    give.write(b"%d\\n" % len(data) + data)
"""


class Source(msgspec.Struct, frozen=True):
    """A module to compile: its path in the image, the hash of its content, the content."""

    path: str
    sha256: str
    data: bytes


def can_run() -> bool:
    """Can the image's interpreter run on this machine?"""
    return sys.platform == "linux" and platform.machine() == "x86_64"


def bytecode_path(path: str) -> str:
    """Where Python looks for the compiled form of a module: beside it, in __pycache__."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.{TAG}.pyc"


def compile_modules(
    sources: Sequence[Source], pile: Pile, cache: Path, *, bare: bool = False
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Path -> .pyc of each source that compiles, and path -> why of those that don't; what was compiled before comes from
    the cache. `bare`: without docstrings. Raises OSError, SubprocessError.
    """
    program = pile.get(PROGRAM[1:])
    if program is None:
        return {}, {}
    maker = hashlib.sha256(f"{program.sha256} {_DRIVER} {bare}".encode()).hexdigest()[:16]
    places = {source.path: _place(cache, maker, source) for source in sources}
    done = {path: kept(place, bytes) for path, place in places.items()}
    todo = [source for source in sources if done[source.path] is None]
    if todo:
        home = _interpreter(pile, cache, maker)
        with ThreadPoolExecutor(PARALLEL) as pool:
            for share in pool.map(lambda part: _run(home, part, bare), [todo[i::PARALLEL] for i in range(PARALLEL)]):
                for source, data in share:
                    keep(places[source.path], data)
                    done[source.path] = data
    made = {path: data for path, data in done.items() if data is not None}
    return (
        {path: data for path, data in made.items() if not data.startswith(b"!")},
        {path: data[1:].decode() for path, data in made.items() if data.startswith(b"!")},
    )


def _place(cache: Path, maker: str, source: Source) -> Path:
    name = hashlib.sha256(f"{source.sha256} {source.path}".encode()).hexdigest()
    return cache / "bytecode" / maker / name[:2] / name


def _run(home: Path, sources: Sequence[Source], bare: bool) -> list[tuple[Source, bytes]]:
    if not sources:
        return []
    library = home / "usr/lib/x86_64-linux-gnu"
    python = str(home / PROGRAM[1:])
    given = b"".join(b"/%s\n%d\n%s" % (source.path.encode(), len(source.data), source.data) for source in sources)
    done = subprocess.run(
        [
            str(library / "ld-linux-x86-64.so.2"),
            "--library-path",
            str(library),
            python,
            "-S",
            "-c",
            _DRIVER,
            "bare" if bare else "whole",
        ],
        input=given,
        capture_output=True,
        env={"PYTHONHOME": str(home / "usr"), "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"},
        timeout=TIMEOUT_S,
        check=True,
    )
    answers, at = [], 0
    for source in sources:
        end = done.stdout.index(b"\n", at)
        size = int(done.stdout[at:end])
        answers.append((source, done.stdout[end + 1 : end + 1 + size]))
        at = end + 1 + size
    return answers


def _interpreter(pile: Pile, cache: Path, maker: str) -> Path:
    """A folder with the interpreter, its libraries and codecs; made once."""
    home = cache / "interpreters" / maker
    if home.is_dir():
        return home
    closure = Closure(pile)
    closure.program(PROGRAM)
    closure.take([f"{STDLIB}/os.py", *(path for path in pile.paths() if path.startswith(f"{STDLIB}/encodings/"))])
    making = part_of(home)
    try:
        _fill(making, closure)
        with contextlib.suppress(OSError):  # another build was faster
            making.rename(home)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return home


def _fill(making: Path, closure: Closure) -> None:
    for path, file in sorted(closure.kept.items()):
        if file.kind == "f":
            target = making / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.load())
            target.chmod(0o755 if path in closure.executables else 0o644)
    for path, file in sorted(closure.kept.items()):
        if file.kind == "l" and "/" not in file.link and path.startswith("usr/lib/x86_64-linux-gnu/"):
            (making / path).symlink_to(file.link)  # libz.so.1 -> libz.so.1.2.13

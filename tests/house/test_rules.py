"""House rules as tests, so that reviews needn't say them. Each rule says why it is one."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "skerry"

# Time, chance, files, sockets and waiting come in as arguments: the simulator runs the same code on virtual time.
IMPURE = {
    "asyncio",
    "io",
    "os",
    "pathlib",
    "random",
    "secrets",
    "shutil",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "uuid",
    "select",
    "signal",
    "sqlite3",
    "multiprocessing",
}
IMPURE_CALLS = {"open", "input", "print", "exec", "eval"}
POSIX_ONLY = {
    "fcntl",
    "grp",
    "pwd",
    "termios",
    "tty",
    "resource",
    "pty",
    "crypt",
    "syslog",
}  # laptops run macOS and Windows
ENTRY_POINTS = {
    "skerry.lab.inside",  # pid 1 of a lab host begins there
    "skerry.cli.main",
    "skerry.agent.main",
    "skerry.client.bundling",
    "skerry.observe.look.child",
    "skerry.guarding.guard",  # systemd starts it
    "skerry.runtime.cores.handler",  # the kernel starts it
    "skerry.sim.run",
    "skerry.sim.contest",
}
SHELLS = {"os.system", "os.popen", "asyncio.create_subprocess_shell"}
LINES_MAX = 500
PYTHONS_READERS = {"json.load", "json.loads", "tomllib.load", "tomllib.loads"}


def modules(*rooms: str) -> Iterator[Path]:
    for room in rooms or ("",):
        yield from sorted((PACKAGE / room).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """All modules that a file imports, also within functions: `a.b` for `from a import b`, too."""
    found = set()
    root = PACKAGE.parent if path.is_relative_to(PACKAGE) else ROOT
    package = ".".join(path.relative_to(root).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
                base = f"{parent}.{base}" if base else parent
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", [*modules("core"), *modules("trust")], ids=lambda p: str(p.relative_to(PACKAGE)))
def test_core_and_trust_have_no_clock_chance_file_socket_or_await(path: Path) -> None:
    tree = ast.parse(path.read_text())
    roots = {name.partition(".")[0] for name in imports(path)}
    assert not roots & IMPURE
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith), node.lineno
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in IMPURE_CALLS, f"line {node.lineno}: {node.func.id}()"


@pytest.mark.parametrize("path", [*modules("cli"), *modules("client")], ids=lambda p: str(p.relative_to(PACKAGE)))
def test_what_runs_on_laptops_imports_nothing_posix_only(path: Path) -> None:
    top = {
        alias.name.partition(".")[0]
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    top |= {
        (node.module or "").partition(".")[0]
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ImportFrom)
    }
    assert not top & POSIX_ONLY


def test_there_are_no_dead_files() -> None:
    known: set[str] = set()
    for folder in (PACKAGE, ROOT / "tests", ROOT / "demo", ROOT / "bench"):
        for path in folder.rglob("*.py"):
            known |= imports(path)
    # Lazy commands and kinds of recipes are named as strings.
    text = "\n".join(
        p.read_text() for p in (*modules("cli"), PACKAGE / "image" / "building" / "recipes" / "__init__.py")
    )
    for path in modules():
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        used = name in known or name in ENTRY_POINTS or path.name in ("__init__.py", "__main__.py")
        assert used or re.search(rf"[\"'.]{path.stem}[\"'.:]", text), f"{name} is imported by nobody"


def test_imports_go_downwards_only() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    ran = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-3000:]


def test_commands_are_argument_lists() -> None:
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                assert not any(k.arg == "shell" and getattr(k.value, "value", False) for k in node.keywords), (
                    f"{path}:{node.lineno}"
                )
                if isinstance(node.func, ast.Attribute) and node.func.attr in (
                    "system",
                    "popen",
                    "create_subprocess_shell",
                ):
                    name = ast.unparse(node.func)
                    assert name not in SHELLS, f"{path}:{node.lineno}"


def test_files_are_small_enough_to_know_by_heart() -> None:
    long = {str(p.relative_to(ROOT)): n for p in modules() if (n := len(p.read_text().splitlines())) > LINES_MAX}
    assert not long


def test_every_file_says_at_its_head_what_lives_in_it() -> None:
    for path in modules():
        text = path.read_text()
        assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{path.relative_to(ROOT)} has no docstring"


def test_there_is_no_utils() -> None:
    assert not [p for p in modules() if p.stem in ("utils", "util", "helpers", "common", "misc")]


def test_requirements_name_no_index() -> None:
    assert "index-url" not in (ROOT / "requirements.txt").read_text()


def test_nothing_committed_names_a_registry_or_a_path_of_one_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    bad = re.compile(  # index URLs are looked for in the requirements alone: code may pass the option on
        r"/work/|/root/\.pyenv|" + "farm" + "-(bench|studio)"
    )
    for name in listed:
        path = ROOT / name
        if path.suffix in (".png", ".gz") or not path.is_file() or path == Path(__file__):
            continue
        found = bad.search(path.read_text(errors="replace"))
        assert not found, f"{name}: {found and found.group()}"


LAPTOP = """
import asyncio, importlib, pkgutil, subprocess, sys, httpx, ruamel.yaml, websockets.asyncio.server
for name in {posix!r}: sys.modules[name] = None
for room in ("skerry.cli", "skerry.client"):
    for found in pkgutil.walk_packages(importlib.import_module(room).__path__, room + "."):
        if found.name != "skerry.cli.lab": importlib.import_module(found.name)
"""


def test_all_that_a_laptop_imports_does_without_posix_too() -> None:
    """Whatever the client takes from the adapters below it comes along: macOS and Windows must be able to import that."""
    code = LAPTOP.format(posix=sorted(POSIX_ONLY))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_what_reads_bytes_from_outside_survives_a_deep_text() -> None:
    """A reader's own RecursionError is what a thousand brackets cost: whoever catches its errors catches that one (outside.py)."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler) and node.type is not None:
                caught = ast.unparse(node.type)
                assert "msgspec.DecodeError" not in caught and "msgspec.MsgspecError" not in caught, (
                    f"{path}:{node.lineno}"
                )
            if isinstance(node, ast.Try) and any(
                isinstance(part, ast.Call) and ast.unparse(part.func) in PYTHONS_READERS
                for each in node.body
                for part in ast.walk(each)
            ):
                caught = " ".join(ast.unparse(handler.type) for handler in node.handlers if handler.type is not None)
                assert "ValueError" not in caught or re.search("RecursionError|UNREADABLE", caught), (
                    f"{path}:{node.lineno}"
                )

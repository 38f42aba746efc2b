"""A recipe for a folder, guessed from what lies in it: `skerry image init`. Looks, asks nothing, changes nothing.

Each guess bears what it was made of, so that whoever reads the recipe knows which lines to look at.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from skerry.errors import BadInput
from skerry.image.local import shipped_for

MAX_FILE_BYTES = 1 << 20
MAX_NAMES = 2000  # of a folder
SITE_FOLDERS = (".", "public", "dist", "build", "_site", "out", "site")
_PORT = re.compile(r"EXPOSE\s+(\d+)", re.IGNORECASE)
_WORDS = re.compile(r"^\s*(ENTRYPOINT|CMD)\s+(\[.*\])\s*$", re.IGNORECASE | re.MULTILINE)
_FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)?(\S+)", re.IGNORECASE | re.MULTILINE)
_APP = re.compile(r"^(\w+)\s*=\s*(FastAPI|Starlette|Litestar|Quart|Flask)\(", re.MULTILINE)


class NothingToBuild(BadInput):
    """A folder in which no kind of recipe finds what it needs."""

    code = "nothing-to-build"


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """`recipe`: the text of an image.toml. `compose`: a service that uses it. `sure`, `unsure`: sentences; the second are to be
    looked at before it is used."""

    kind: str
    recipe: str
    compose: str
    sure: tuple[str, ...]
    unsure: tuple[str, ...]


class _Guess:
    """A suggestion in the making: lines of the table [image], and tables after it."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        self.kind = kind
        self.fields: dict[str, Any] = {}
        self.build: dict[str, Any] = {}
        self.notes: list[str] = []
        self.port = 8000
        self.sure: list[str] = []
        self.unsure: list[str] = []


def suggest(folder: Path) -> Suggestion:
    """A recipe for this folder. Raises NothingToBuild."""
    if not folder.is_dir():
        raise NothingToBuild(f"{folder} can't be looked at", "it is not a folder", "name the folder of a project")
    docker = _read(folder / "Dockerfile")
    for look in (_node, _python, _program, _site, _dockerfile):
        guess = look(folder, docker)
        if guess is not None:
            _from_docker(guess, docker)
            return _written(guess)
    raise NothingToBuild(
        f"no recipe was found for {folder}",
        "there is no package.json, pyproject.toml, requirements.txt, compiled program, index.html or Dockerfile in it",
        "write image.toml by hand: docs/images.md has one for each kind",
    )


def _node(folder: Path, docker: str) -> _Guess | None:
    try:
        package = json.loads(_read(folder / "package.json") or "null")
    except (ValueError, RecursionError):
        return None
    if not isinstance(package, dict):
        return None
    said = package.get("scripts")
    scripts: dict[str, Any] = said if isinstance(said, dict) else {}
    start = str(scripts.get("start", "")).split()
    files = [start[-1]] if start[:1] == ["node"] and len(start) == 2 else []
    files += [
        str(package.get("main", "")),
        "server.js",
        "server.mjs",
        "app.js",
        "index.js",
        "index.mjs",
        "src/index.js",
    ]
    found = next((name for name in files if name and (folder / name).is_file()), "")
    if not found and "build" in scripts:
        guess = _Guess(folder, "site")
        guess.fields["folder"] = next((name for name in ("dist", "build", "out") if (folder / name).is_dir()), "dist")
        guess.unsure.append(
            f"npm run build has to be done before each build of the image; {guess.fields['folder']} is served"
        )
        guess.port = 8080
        return guess
    guess = _Guess(folder, "node")
    guess.port = 3000
    guess.fields["entrypoint"] = ["node", found or "server.js"]
    if found:
        guess.sure.append(f"node starts {found}")
    else:
        guess.unsure.append(
            "which file node starts: there is no script `start` of that form, no main, and no server.js"
        )
    if start and start[:1] != ["node"]:
        guess.unsure.append(
            f"npm start would run {' '.join(start)!r}: there is no npm in an image, only node and a file"
        )
    if (folder / "package-lock.json").is_file():
        guess.sure.append("packages as in package-lock.json, without those for development")
    elif package.get("dependencies"):
        guess.unsure.append(
            "there is no package-lock.json: npm chooses versions at the first build, skerry.lock keeps them"
        )
    return guess


def _python(folder: Path, docker: str) -> _Guess | None:
    named = [
        name
        for name in ("uv.lock", "poetry.lock", "requirements.txt", "pyproject.toml", "Pipfile")
        if (folder / name).is_file()
    ]
    modules = [
        name
        for name in ("main.py", "app.py", "server.py", "asgi.py", "wsgi.py", "__main__.py")
        if (folder / name).is_file()
    ]
    if not named and not modules:
        return None
    guess = _Guess(folder, "python")
    packages = " ".join(_read(folder / name) for name in named if name != "Pipfile").lower()
    if "Pipfile" in named:
        guess.unsure.append("Pipfile is not read: write requirements.txt (pipenv requirements > requirements.txt)")
    elif named:
        guess.sure.append(f"packages as in {named[0]}")
    guess.fields["entrypoint"], why, certain = _python_words(folder, packages)
    (guess.sure if certain else guess.unsure).append(why)
    return guess


def _python_words(folder: Path, packages: str) -> tuple[list[str], str, bool]:
    """What to start, why, and whether that is certain."""
    if (folder / "manage.py").is_file():
        site = next((path.parent.name for path in _some(folder, "*/wsgi.py")), "")
        if site and "gunicorn" in packages:
            return (
                ["python3", "-m", "gunicorn", f"{site}.wsgi", "--bind", "0.0.0.0:8000"],
                "a Django project with gunicorn",
                True,
            )
        words = ["python3", "manage.py", "runserver", "--noreload", "0.0.0.0:8000"]
        return words, "a Django project without gunicorn: its own server is for development only", False
    for path in (*_some(folder, "*.py"), *_some(folder, "*/*.py")):
        found = _APP.search(_read(path))
        if not found:
            continue
        app = f"{'.'.join(path.relative_to(folder).with_suffix('').parts)}:{found[1]}"
        if found[2] == "Flask" and "gunicorn" in packages:
            return ["python3", "-m", "gunicorn", app, "--bind", "0.0.0.0:8000"], f"{path.name} makes a Flask app", True
        if found[2] == "Flask":
            words = ["python3", "-m", "flask", "--app", app, "run", "--host", "0.0.0.0", "--port", "8000"]
            return words, "a Flask app without gunicorn: its own server is for development only", False
        certain = "uvicorn" in packages or "fastapi" in packages
        words = ["python3", "-m", "uvicorn", app, "--host", "0.0.0.0", "--port", "8000"]
        return (
            words,
            f"{path.name} makes a {found[2]} app" + ("" if certain else ", but uvicorn is not among the packages"),
            certain,
        )
    main = next((name for name in ("main.py", "app.py", "server.py", "__main__.py") if (folder / name).is_file()), "")
    if main:
        return ["python3", main], f"{main} is started; whether it is what serves was not looked at", False
    return ["python3", "-m", "app"], "what to start: there is no main.py, app.py or server.py", False


def _program(folder: Path, docker: str) -> _Guess | None:
    guess = _Guess(folder, "static")
    guess.port = 8080
    built = next((path for path in _programs(folder)), None)
    if (folder / "go.mod").is_file():
        name = re.search(r"^module\s+(\S+)", _read(folder / "go.mod"), re.MULTILINE)
        program = built or Path(name[1].rpartition("/")[2] if name else "server")
        guess.unsure.append(
            f"compile it before each build of the image: CGO_ENABLED=0 go build -trimpath -o {program} ."
        )
    elif (folder / "Cargo.toml").is_file():
        program = built or Path("target/release") / _cargo_name(folder)
        guess.unsure.append("compile it before each build of the image: cargo build --release")
    elif built is not None:
        program = built
        guess.sure.append(f"{built} is a program for Linux")
    elif _some(folder, "*.c") and (folder / "Makefile").is_file():
        program = Path("server")
        guess.build = {"packages": ["gcc", "libc6-dev", "make"], "run": [["make"]], "outputs": ["server"]}
        guess.unsure.append("what `make` makes, and which packages it needs: see [build]")
    else:
        return None
    guess.fields["entrypoint"] = [str(program)]
    return guess


def _site(folder: Path, docker: str) -> _Guess | None:
    found = next((name for name in SITE_FOLDERS if (folder / name / "index.html").is_file()), None)
    if found is None:
        return None
    guess = _Guess(folder, "site")
    guess.port = 8080
    guess.fields["folder"] = found
    guess.sure.append(f"{found}/index.html is the first page")
    return guess


def _dockerfile(folder: Path, docker: str) -> _Guess | None:
    if not docker:
        return None
    bases = _FROM.findall(docker)
    shipped = shipped_for(bases[-1]) if bases else ""
    guess = _Guess(folder, shipped or "dockerfile")
    if shipped:
        guess.unsure.append(
            f"the Dockerfile is made from {bases[-1]}; what it adds to that has to be said in the recipe (`files`)"
        )
    else:
        guess.unsure.append(
            "the Dockerfile is built by buildah or docker of this machine; a recipe of another kind can be made anywhere"
        )
    return guess


def _from_docker(guess: _Guess, docker: str) -> None:
    """What a Dockerfile beside it says about the port and what is started."""
    if not docker:
        return
    if port := _PORT.search(docker):
        guess.port = int(port[1])
        guess.sure.append(f"port {guess.port}, from the Dockerfile")
    said = {found[1].upper(): found[2] for found in _WORDS.finditer(docker)}
    if said and guess.kind not in ("site", "dockerfile"):
        guess.notes += [f"The Dockerfile has {word} {words}" for word, words in said.items()]


def _written(guess: _Guess) -> Suggestion:
    if not any("port" in line for line in guess.sure):
        guess.unsure.append(f"port {guess.port}: the usual one, it was not looked for in the code")
    lines = ["# Written by `skerry image init`, from what lies in this folder. See docs/images.md."]
    lines += [f"# Sure: {line}." for line in guess.sure] + [f"# Look at this: {line}." for line in guess.unsure]
    lines += [f"# {line}" for line in guess.notes]
    lines += ["", "[image]", f"recipe = {_toml(guess.kind)}"]
    lines += [f"{key} = {_toml(value)}" for key, value in guess.fields.items()]
    if guess.kind not in ("site", "dockerfile"):
        lines.append(f"expose = [{_toml(str(guess.port))}]")
    if guess.build:
        lines += ["", "[build]", *(f"{key} = {_toml(value)}" for key, value in guess.build.items())]
    name = re.sub(r"[^a-z0-9-]+", "-", guess.folder.resolve().name.lower()).strip("-") or "web"
    compose = f'services:\n  {name}:\n    build: .\n    ports: ["{guess.port}:{guess.port}"]\n'
    text = "\n".join(lines) + "\n"
    return Suggestion(kind=guess.kind, recipe=text, compose=compose, sure=tuple(guess.sure), unsure=tuple(guess.unsure))


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)  # a JSON text is one of TOML, too


def _cargo_name(folder: Path) -> str:
    try:
        return str(tomllib.loads(_read(folder / "Cargo.toml"))["package"]["name"])
    except (tomllib.TOMLDecodeError, LookupError, TypeError, RecursionError):
        return "server"


def _programs(folder: Path) -> Iterator[Path]:
    """Programs for Linux in the folder and where compilers put them, relative to it. Libraries are none: nothing runs them."""
    for place in (".", "bin", "build", "dist", "target/release"):
        for path in _some(folder / place, "*"):
            if path.is_file() and not path.is_symlink() and ".so" not in path.name and path.stat().st_mode & 0o111:
                with path.open("rb") as source:
                    if source.read(4) == b"\x7fELF":
                        yield path.relative_to(folder)


def _some(folder: Path, pattern: str) -> list[Path]:
    found = []
    for number, path in enumerate(folder.glob(pattern)):
        if number == MAX_NAMES:
            break
        if not any(part.startswith(".") or part in ("venv", "node_modules") for part in path.relative_to(folder).parts):
            found.append(path)
    return sorted(found)


def _read(path: Path) -> str:
    """The text of a file, "" for none; a very long one only in part."""
    try:
        with path.open("rb") as source:
            return source.read(MAX_FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""

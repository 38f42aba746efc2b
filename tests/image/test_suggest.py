"""`skerry image init`: what a folder suggests, and that each suggestion is a recipe which can be read."""

import json
import tomllib

import pytest

from image.memory import elf_of
from skerry.cli.main import run
from skerry.image.building.recipe import read_recipe
from skerry.image.building.suggest import NothingToBuild, suggest

FASTAPI = "from fastapi import FastAPI\napp = FastAPI()\n"
FOLDERS = {
    "express": ({"package.json": '{"scripts": {"start": "node src/web.js"}}', "src/web.js": ""}, "node", ["node", "src/web.js"]),
    "main of a package": ({"package.json": '{"main": "x.js", "dependencies": {"a": "1"}}', "x.js": ""}, "node", ["node", "x.js"]),
    "next": ({"package.json": '{"scripts": {"start": "next start"}}'}, "node", ["node", "server.js"]),
    "vite": ({"package.json": '{"scripts": {"build": "vite build"}}', "index.html": ""}, "site", []),
    "fastapi": ({"requirements.txt": "fastapi\nuvicorn\n", "shop/web.py": FASTAPI}, "python",
                ["python3", "-m", "uvicorn", "shop.web:app"]),
    "flask": ({"pyproject.toml": '[project]\ndependencies = ["flask", "gunicorn"]', "app.py": "app = Flask(__name__)"}, "python",
              ["python3", "-m", "gunicorn", "app:app"]),
    "django": ({"uv.lock": "gunicorn", "manage.py": "", "shop/wsgi.py": ""}, "python", ["python3", "-m", "gunicorn", "shop.wsgi"]),
    "script": ({"main.py": "print(1)"}, "python", ["python3", "main.py"]),
    "go": ({"go.mod": "module example.org/shop\n", "main.go": ""}, "static", ["shop"]),
    "rust": ({"Cargo.toml": '[package]\nname = "shop"\n'}, "static", ["target/release/shop"]),
    "program": ({"bin/shop": elf_of(), "bin/libx.so": elf_of()}, "static", ["bin/shop"]),
    "c": ({"Makefile": "server:\n", "server.c": ""}, "static", ["server"]),
    "site": ({"public/index.html": ""}, "site", []),
    "official": ({"Dockerfile": "FROM nginx:1.25-alpine\nCOPY site.conf /etc/nginx/conf.d/\n"}, "nginx", []),
    "other": ({"Dockerfile": "FROM debian AS build\nRUN make\nEXPOSE 9000\n"}, "dockerfile", []),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    def make(files):
        for name, content in files.items():
            path = tmp_path / "Shop 1" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            if isinstance(content, bytes):
                path.chmod(0o755)
        return tmp_path / "Shop 1"

    return make


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_gives_a_recipe_that_can_be_read(name, folder):
    files, kind, words = FOLDERS[name]
    project = folder(files)
    found = suggest(project)
    image = tomllib.loads(found.recipe)["image"]
    assert (found.kind, image["recipe"], image.get("entrypoint", [])[: len(words)]) == (kind, kind, words)
    assert found.sure or found.unsure
    assert "shop-1:" in found.compose and "build: ." in found.compose
    (project / "image.toml").write_text(found.recipe)
    assert read_recipe(project) is not None


def test_a_dockerfile_beside_a_project_tells_the_port_and_what_it_started(folder):
    docker = 'FROM python:3.12\nEXPOSE 5000\nCMD ["gunicorn", "web:app"]\n'
    found = suggest(folder({"requirements.txt": "flask\n", "web.py": "app = Flask(__name__)", "Dockerfile": docker}))
    assert found.kind == "python" and "5000:5000" in found.compose
    assert '# The Dockerfile has CMD ["gunicorn", "web:app"]' in found.recipe


def test_an_empty_folder_is_answered_with_what_was_looked_for(tmp_path):
    with pytest.raises(NothingToBuild) as refused:
        suggest(tmp_path)
    assert "package.json" in refused.value.why and refused.value.fix


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"scripts": 1, "main": 3}', '{"scripts": {"start": {}}}', "\0\xff"]
)
def test_odd_files_break_nothing(text, folder):
    project = folder({"package.json": text, "Cargo.toml": text, "pyproject.toml": text, "Dockerfile": text})
    assert suggest(project).recipe


def test_the_command_writes_once_says_its_doubts_and_prints_without_writing(folder, capsys):
    project = folder({"main.py": "print(1)"})
    assert run(["image", "init", str(project), "--print"]) == 0
    assert capsys.readouterr().out.startswith("# Written by") and not (project / "image.toml").exists()
    assert run(["image", "init", str(project), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (project / "image.toml").read_text() == answer["recipe"] and answer["unsure"]
    (project / "image.toml").write_text("mine")
    assert run(["image", "init", str(project)]) == 2
    assert (project / "image.toml").read_text() == "mine"

"""Every recipe of docs/images.md, built as the page shows it, by the command that it names, and its program started.

A comment before a block of the page says where: `<!-- builds: FILE of SERVICES in FOLDER -->`; without `of`, FILE is a recipe.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from image import engines
from library.conftest import Home
from skerry.cli.image import command
from skerry.image.building.stage.dockerfile import ENGINES

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
CACHE = ROOT / "build" / "cache"
PAGE = (ROOT / "docs" / "images.md").read_text()
BLOCK = re.compile(
    r"<!-- (builds|refused): (\S+?)(?: of ([\w, ]+))? in (\S+) -->\n```(?:toml|yaml)\n(.*?)```\n", re.DOTALL
)
SAYS = {  # by folder, what its program is to say when it is run
    "tests/image/guide/data": "high tide\n",
    "tests/image/guide/missing": "3.40.1\n",
    "tests/image/guide/sdist": "0.6.2\n",
    "tests/image/guide/tools": "2.17.0 (September 2021)\n\n",
}


class Example(NamedTuple):
    act: str
    file: str
    service: str
    folder: str
    text: str


EXAMPLES = [
    Example(act, file, service.strip(), folder, text)
    for act, file, services, folder, text in BLOCK.findall(PAGE)
    for service in services.split(",")
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    CACHE.mkdir(parents=True, exist_ok=True)
    made = Home(tmp_path_factory.mktemp("guide"))
    made.images_dir.mkdir()
    (made.images_dir / "cache").symlink_to(CACHE)
    return made


def project_of(example: Example, home: Home) -> Path:
    """A copy of the example's folder, with the page's block in it."""
    project = home.directory / "projects" / example.folder
    if not (ROOT / example.folder).is_dir():  # it has no more than the page shows
        project.mkdir(parents=True, exist_ok=True)
    elif not project.exists():
        shutil.copytree(ROOT / example.folder, project, ignore=shutil.ignore_patterns("skerry.lock"))
    (project / example.file).write_text(example.text)
    return project


def words_of(example: Example, project: Path) -> list[str]:
    return ["-f", str(project / example.file), example.service] if example.service else [str(project)]


def test_the_page_marks_every_recipe() -> None:
    marked = "".join(found[0] for found in BLOCK.finditer(PAGE))
    blocks = re.findall(r"```(?:toml|yaml)\n.*?```\n", PAGE, re.DOTALL)
    assert len(blocks) > 10
    assert [block for block in blocks if block not in marked] == []


def test_the_page_names_every_verb() -> None:
    assert set(re.findall(r"^\| `skerry image ([a-z]+)` \|", PAGE, re.MULTILINE)) == set(command.commands)


def test_examples_that_have_their_recipe_beside_them_have_that_of_the_page() -> None:
    kept = [example for example in EXAMPLES if (ROOT / example.folder / example.file).is_file()]
    assert len(kept) >= 5
    assert [e.folder for e in kept if (ROOT / e.folder / e.file).read_text() != e.text] == []


@pytest.mark.parametrize(
    "example",
    [example for example in EXAMPLES if not example.folder.endswith(("archive", "dockerfile"))],
    ids=lambda e: f"{Path(e.folder).name}-{e.service or e.act}",
)
def test_a_recipe_of_the_page_is_what_it_says(
    example: Example, home: Home, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "low tide")
    project = project_of(example, home)
    if example.act == "refused":
        refused = home("build", *words_of(example, project), code=1).err
        assert refused.endswith(next(block for block in re.findall(r"```\n(error:.*?)```", PAGE, re.DOTALL)))
        return
    is_started(home, example, project)
    if said := SAYS.get(example.folder):
        capfd.readouterr()
        home("run", str(project))
        assert capfd.readouterr().out == said


def is_started(home: Home, example: Example, project: Path) -> None:
    built = home("build", *words_of(example, project), "--json").json
    assert built["executables"]
    assert bool(built["shells"]) == ("allow" in example.text)
    assert {row["what"]: row["seen"] for row in built["probe"] if not row["kept"]} == {}


def test_an_archive_of_others_is_slimmed(home: Home) -> None:
    archive = next(example for example in EXAMPLES if example.folder.endswith("archive"))
    static = next(example for example in EXAMPLES if example.folder.endswith("static"))
    project = project_of(archive, home)
    name = home("build", *words_of(static, project_of(static, home)), "--json").json["image"]
    home("export", "--format", "docker", name, str(project / "web.tar"))
    is_started(home, archive, project)


def test_a_dockerfile_is_built_by_the_engine_that_is_there(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = next((engine for engine in ENGINES if engines.there(engine)), "")
    if not engine:
        pytest.skip("neither buildah nor docker is installed")
    example = next(example for example in EXAMPLES if example.folder.endswith("dockerfile"))
    static = next(example for example in EXAMPLES if example.folder.endswith("static"))
    project = project_of(example, home)
    name = home("build", *words_of(static, project_of(static, home)), "--json").json["image"]
    images = home.images
    tides = next(entry for entry in images.images.tree(images.names[name]).files() if entry.path == "app/tides")
    (project / "tides").write_bytes(images.objects.read(tides.sha256))
    (project / "tides").chmod(0o755)
    with getattr(engines, engine)(tmp_path / "engine") as environment:
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        is_started(home, example, project)


def test_what_is_missing_is_named_with_the_line_that_keeps_it(home: Home) -> None:
    example = next(example for example in EXAMPLES if example.folder.endswith("missing"))
    project = project_of(example, home)
    (project / "image.toml").write_text(example.text.replace('stdlib = ["sqlite3"]\n', ""))
    found = home("check", str(project), "--for", "10s", "--json", code=1).json
    assert 'stdlib = ["sqlite3"]' in {row["write"] for row in found["missing"]}

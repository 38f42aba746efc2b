"""Python packages that come as source: built in the stage when the recipe allows it by name, the same each time, never on this
machine."""

import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from image.test_stage_recipes import said
from skerry.client.images import sandbox
from skerry.image.building.build import build, plan
from skerry.image.building.recipe import parse_recipe
from skerry.image.building.sources.fetch import Gone
from skerry.image.building.sources.lock import Sdist, read_lock
from skerry.image.building.sources.sdists import build_system, sdist_path, sources_of
from skerry.image.building.stage.contract import StageFailed
from skerry.image.contract import BuildRefused, DownloadRefused
from skerry.image.trees import Images
from skerry.store.objects import ObjectStore

ROOT = Path(__file__).parents[2]
CACHE = ROOT / "build" / "cache"
SETUP = """
import os
{first}
from setuptools import Extension, setup
setup(name="skerry-test-tides", version="{version}", py_modules=["tides"], ext_modules=[Extension("tidemark", ["src/tidemark.c"])],
      install_requires={needs!r})
"""
MODULE = r"""
#include <Python.h>
static PyObject *where(PyObject *self, PyObject *none) { return PyUnicode_FromString(__FILE__ " " __DATE__); }
static PyMethodDef methods[] = {{"where", where, METH_NOARGS, 0}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "tidemark", 0, -1, methods};
PyMODINIT_FUNC PyInit_tidemark(void) { return PyModule_Create(&module); }
"""
RECIPE = {
    "recipe": "python",
    "bytecode": False,
    "entrypoint": ["python3", "-c", "import tidemark, tides; print(tidemark.where(), tides.HIGH)"],
    "build": {"sdists": ["Skerry.Test_Tides"]},
}


def archive(folder: Path, version: str = "1.0", first: str = "", needs: tuple[str, ...] = (), **more: str) -> Path:
    """A source archive as `python -m build` would make it."""
    files = {
        "setup.py": SETUP.format(first=first, version=version, needs=list(needs)),
        "src/tidemark.c": MODULE,
        "tides.py": "HIGH = 7\n",
        "PKG-INFO": f"Metadata-Version: 2.1\nName: skerry-test-tides\nVersion: {version}\n",
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"skerry_test_tides-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"skerry_test_tides-{version}/{name}")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip looks into, beside wherever else it looks."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", f"{folder} {os.environ.get('PIP_FIND_LINKS', '')}".strip())
    return folder


def project(folder: Path, requirements: str = "skerry-test-tides\n") -> Path:
    folder.mkdir(parents=True)
    (folder / "requirements.txt").write_text(requirements)
    return folder


def made(folder: Path, home: Path, content: dict = RECIPE, **options):
    objects = ObjectStore(home)
    options = {"objects": objects, "cache": CACHE, "sandbox": sandbox()} | options
    return build(parse_recipe(content), folder, **options), Images(objects, home / "trees")


def fresh_cache(path: Path) -> Path:
    (path / "stage").mkdir(parents=True)
    for part in ("debs", "unpacked", "index", "stage/roots"):
        (path / part).symlink_to(CACHE / part)
    return path


@pytest.mark.real
def test_a_c_extension_is_built_in_the_stage_and_works_in_the_image(index, tmp_path):
    archive(index)
    folder = project(tmp_path / "project")
    told: list[str] = []
    built, images = made(folder, tmp_path / "home", progress=lambda stage: told.append(stage.detail))
    assert "building skerry-test-tides 1.0 from source" in told
    entry = images.config(built.digest).entrypoint
    assert said(images, built, "/usr/bin/python3.11", *entry[1:]) == "src/tidemark.c Jan  1 1980 7\n"
    locked = read_lock(folder / "skerry.lock", "image")
    (sdist,) = locked.sdists
    assert (sdist.file, [wheel.name for wheel in locked.wheels]) == (
        "skerry_test_tides-1.0.tar.gz",
        ["skerry-test-tides"],
    )
    assert "setuptools" in [wheel.name for wheel in sdist.requires]
    paths = [entry.path for entry in images.tree(built.digest).entries]
    assert not [path for path in paths if "setuptools" in path or path.endswith(".c")]


@pytest.mark.real
def test_two_builds_of_it_are_equal_and_a_lock_is_built_as_it_says(index, tmp_path, monkeypatch):
    archive(index)
    folder = project(tmp_path / "one")
    one, _ = made(folder, tmp_path / "home1", cache=fresh_cache(tmp_path / "cache1"))
    other = project(tmp_path / "some" / "where" / "two")
    (other / "skerry.lock").write_bytes((folder / "skerry.lock").read_bytes())
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    before = os.umask(0o077)
    try:
        two, _ = made(other, tmp_path / "home2", cache=fresh_cache(tmp_path / "cache2"))
    finally:
        os.umask(before)
    assert two.digest == one.digest and (other / "skerry.lock").read_bytes() == (folder / "skerry.lock").read_bytes()
    recipe, objects = parse_recipe(RECIPE), ObjectStore(tmp_path / "home2")
    assert all(stage.cached for stage in plan(recipe, other, objects=objects, cache=tmp_path / "cache2"))
    archive(index, first="# somebody changed it")
    with pytest.raises(DownloadRefused, match="other bytes"):
        made(other, tmp_path / "home3", cache=fresh_cache(tmp_path / "cache3"))
    (index / "skerry_test_tides-1.0.tar.gz").unlink()
    with pytest.raises(Gone, match=r"skerry_test_tides-1.0.tar.gz can't be had"):
        made(other, tmp_path / "home3", cache=tmp_path / "cache3")


@pytest.mark.real
def test_what_a_source_needs_comes_as_wheels_and_the_newest_that_fits_is_taken(index, tmp_path):
    archive(index, version="1.0")
    archive(index, version="1.5", needs=("mdurl>=0.1",))
    archive(index, version="2.0")
    folder = project(tmp_path / "project", "skerry-test-tides<2\n")
    made(folder, tmp_path / "home")
    locked = read_lock(folder / "skerry.lock", "image")
    assert {(wheel.name, wheel.version) for wheel in locked.wheels} >= {("skerry-test-tides", "1.5")}
    assert "mdurl" in [wheel.name for wheel in locked.wheels]


@pytest.mark.real
def test_a_backend_in_the_archive_that_asks_for_more_gets_it_as_wheels(index, tmp_path):
    backend = (
        "from setuptools.build_meta import *\nfrom setuptools.build_meta import build_wheel as _real\n"
        "def get_requires_for_build_wheel(settings=None):\n    return ['mdurl']\n"
        "def build_wheel(*words):\n    import mdurl\n    return _real(*words)\n"
    )
    system = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "own"\nbackend-path = ["tools"]\n'
    archive(index, **{"tools/own.py": backend, "pyproject.toml": system})
    folder = project(tmp_path / "project")
    made(folder, tmp_path / "home")
    (sdist,) = read_lock(folder / "skerry.lock", "image").sdists
    assert [wheel.name for wheel in sdist.requires] == ["mdurl", "setuptools"]


@pytest.mark.real
def test_without_the_recipe_s_word_no_source_is_taken(index, tmp_path):
    archive(index, first=f"open({str(tmp_path / 'ran')!r}, 'w')")
    content = {key: value for key, value in RECIPE.items() if key != "build"}
    with pytest.raises(BuildRefused, match="skerry-test-tides") as error:
        made(project(tmp_path / "project"), tmp_path / "home", content)
    assert "build: {sdists: [skerry-test-tides]}" in error.value.fix
    assert not (tmp_path / "ran").exists()


@pytest.mark.real
def test_its_code_runs_in_the_stage_alone(index, tmp_path):
    """It tries to leave a file on this machine and to reach the network; either would fail the assertion of its absence."""
    first = (
        f"import socket\ntry: open({str(tmp_path / 'ran')!r}, 'w')\nexcept OSError as e: print('file', e)\n"
        "try: socket.create_connection(('192.0.2.1', 80), 1)\nexcept OSError as e: print('net', e)\n"
    )
    archive(index, first=first)
    told: list[str] = []
    made(project(tmp_path / "p"), tmp_path / "home", progress=lambda stage: told.append(stage.detail))
    assert not (tmp_path / "ran").exists()
    assert any(line.startswith("file") for line in told) and any("unreachable" in line for line in told)


@pytest.mark.real
def test_a_source_that_can_not_be_built_says_what_its_compiler_said(index, tmp_path):
    archive(index, **{"src/tidemark.c": "#include <no-such-header.h>\n"})
    with pytest.raises(StageFailed, match=r"no-such-header\.h") as error:
        made(project(tmp_path / "p"), tmp_path / "home")
    assert "exit code 1" in error.value.what and not (tmp_path / "p" / "skerry.lock").read_text().count('"image":')


@pytest.mark.real
def test_one_that_another_package_needs_is_built_too(tmp_path):
    """feedparser, a real one: it needs sgmllib3k, of which there has never been a wheel."""
    folder = project(tmp_path / "p", "feedparser==6.0.11\n")
    content = RECIPE | {"entrypoint": ["python3", "-c", "import feedparser; print(feedparser.__version__)"]}
    built, images = made(folder, tmp_path / "home", content | {"build": {"sdists": ["sgmllib3k"]}})
    command = images.config(built.digest).entrypoint[1:]
    assert said(images, built, "/usr/bin/python3.11", *command) == "6.0.11\n"
    assert [sdist.name for sdist in read_lock(folder / "skerry.lock", "image").sdists] == ["sgmllib3k"]


@pytest.mark.real
def test_a_plan_says_that_foreign_code_will_run(index, tmp_path):
    archive(index)
    stages = plan(
        parse_recipe(RECIPE), project(tmp_path / "p"), objects=ObjectStore(tmp_path / "home"), cache=tmp_path / "cache"
    )
    (stage,) = [stage for stage in stages if stage.name == "build"]
    assert not stage.cached and "Skerry.Test_Tides" in stage.detail and "without network" in stage.detail


def held(tmp_path: Path, write) -> Sdist:
    data = io.BytesIO()
    write(data)
    hash = hashlib.sha256(data.getvalue()).hexdigest()
    sdist = Sdist("x", "1", hash, len(data.getvalue()), "x-1.zip" if data.getvalue()[:2] == b"PK" else "x-1.tar.gz")
    path = sdist_path(sdist, tmp_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.getvalue())
    return sdist


@pytest.mark.parametrize(
    "name, kind, link",
    [
        ("x-1/../../etc/passwd", tarfile.REGTYPE, ""),
        ("/etc/passwd", tarfile.REGTYPE, ""),
        ("x-1/link", tarfile.SYMTYPE, "/etc/passwd"),
        ("x-1/link", tarfile.SYMTYPE, "../../x"),
        ("x-1/device", tarfile.CHRTYPE, ""),
    ],
)
def test_an_archive_that_leaves_its_folder_is_refused(tmp_path, name, kind, link):
    def write(out) -> None:
        with tarfile.open(fileobj=out, mode="w:gz") as tar:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            tar.addfile(info)

    with pytest.raises(DownloadRefused, match="not a source archive"):
        sources_of(held(tmp_path, write), tmp_path)


def test_zips_are_read_too_and_noise_is_refused(tmp_path):
    def write(out) -> None:
        with zipfile.ZipFile(out, "w") as zipped:
            zipped.writestr("x-1/setup.py", "import x")

    (file,) = sources_of(held(tmp_path, write), tmp_path)
    assert (file.path, file.load()) == ("setup.py", b"import x")
    assert build_system([file]).backend == "setuptools.build_meta:__legacy__"
    with pytest.raises(DownloadRefused):
        sources_of(held(tmp_path, lambda out: out.write(b"noise")), tmp_path)
    with pytest.raises(DownloadRefused):
        sources_of(held(tmp_path, lambda out: out.write(b"PK noise")), tmp_path)

"""Dockerfiles: built by a real buildah and a real docker, each with a store of its own. No base can be pulled here, so they begin
at nothing or at one that is made here."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from image import engines
from skerry.image.archive import import_archive
from skerry.image.building.build import build
from skerry.image.building.recipe import BadRecipe, parse_recipe
from skerry.image.building.stage.dockerfile import DockerfileFailed, FromEngine, NoImageBuilder, Wish, build_dockerfile
from skerry.image.contract import BuildRefused
from skerry.image.lint.findings import ImageRefused
from skerry.image.manifest import parse_tree
from skerry.image.oci import hash_of, parse_config, parse_manifest
from skerry.image.trees import Images
from skerry.runtime.probe import tiny_program
from skerry.store.objects import ObjectStore

DOCKERFILE = """
FROM scratch AS base
COPY program /opt/program
FROM base AS web
ARG WORD=none
ENV WORD=$WORD
USER 10001
ENTRYPOINT ["/opt/program"]
FROM base AS other
ENTRYPOINT ["/other"]
"""


@pytest.fixture(params=["buildah", "docker"], scope="module")
def engine(request, tmp_path_factory):
    """Its name, as the only one that is to be found."""
    if not engines.there(request.param):
        pytest.skip(f"{request.param} is not installed")
    home = tmp_path_factory.mktemp(request.param) / "home"
    with getattr(engines, request.param)(home) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield request.param


def project(folder: Path, dockerfile: str = DOCKERFILE) -> Path:
    folder.mkdir()
    (folder / "program").write_bytes(tiny_program("x86_64"))
    (folder / "program").chmod(0o755)
    (folder / "Dockerfile").write_text(dockerfile)
    return folder


def built(folder: Path, tmp_path: Path, engine: str, **wish) -> tuple[FromEngine, list[str]]:
    lines: list[str] = []
    made = build_dockerfile(Wish(**wish), folder, tmp_path / "cache", lines.append, (engine,))
    assert [path.name for path in (tmp_path / "cache" / "dockerfile").iterdir() if path.name[0] == "."] == []
    return made, lines


@pytest.mark.real
def test_a_stage_of_a_dockerfile_becomes_an_archive_that_can_be_imported(engine, tmp_path):
    made, lines = built(project(tmp_path / "p"), tmp_path, engine, target="web", args={"WORD": "tide"})
    assert made.engine.startswith(f"{engine} ") and any("COPY program" in line for line in lines)
    objects = ObjectStore(tmp_path / "store")
    imported = import_archive(made.archive, objects)
    refs = parse_manifest(objects.read(hash_of(imported.digest)))
    config = parse_config(objects.read(refs.config))
    assert (config.entrypoint, config.user, dict(config.env)["WORD"]) == (("/opt/program",), "10001", "tide")
    tree = parse_tree(objects.read(refs.tree))
    assert [(entry.path, entry.mode) for entry in tree.files()] == [("opt/program", 0o755)]
    assert made.image == f"sha256:{made.archive.stem}"


@pytest.mark.real
def test_the_same_again_is_saved_once(engine, tmp_path):
    folder = project(tmp_path / "p")
    first, _ = built(folder, tmp_path, engine, target="web")
    saved = first.archive.stat().st_mtime_ns
    again, _ = built(folder, tmp_path, engine, target="web")
    assert (again.image, again.archive.stat().st_mtime_ns) == (first.image, saved)


@pytest.mark.real
def test_one_that_fails_says_what_the_engine_said(engine, tmp_path):
    folder = project(tmp_path / "p", "FROM scratch\nCOPY missing /x\n")
    with pytest.raises(DockerfileFailed, match="missing"):
        built(folder, tmp_path, engine)
    (folder / "Dockerfile").write_text("FROM scratch\nNONSENSE\n")
    with pytest.raises(DockerfileFailed, match="NONSENSE"):
        built(folder, tmp_path, engine)
    with pytest.raises(DockerfileFailed, match="nowhere"):
        built(project(tmp_path / "q"), tmp_path, engine, target="nowhere")


@pytest.mark.real
def test_a_base_that_was_imported_is_built_upon(engine, tmp_path):
    base = io.BytesIO()
    with tarfile.open(fileobj=base, mode="w") as tar:
        info = tarfile.TarInfo("etc/base")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"base"))
    if engine == "docker":
        subprocess.run(["docker", "import", "-", "shore:1"], input=base.getvalue(), check=True, capture_output=True)
    else:
        (tmp_path / "base").mkdir()
        (tmp_path / "base" / "base.tar").write_bytes(base.getvalue())
        (tmp_path / "base" / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
        command = ["buildah", "bud", "-t", "localhost/shore:1", str(tmp_path / "base")]
        subprocess.run(command, check=True, capture_output=True)
    name = "shore:1" if engine == "docker" else "localhost/shore:1"
    folder = project(tmp_path / "p", f'FROM {name}\nCOPY program /program\nENTRYPOINT ["/program"]\n')
    made, _ = built(folder, tmp_path, engine)
    objects = ObjectStore(tmp_path / "store")
    refs = parse_manifest(objects.read(hash_of(import_archive(made.archive, objects).digest)))
    assert [entry.path for entry in parse_tree(objects.read(refs.tree)).files()] == ["etc/base", "program"]


@pytest.mark.real
def test_the_recipe_gives_an_image_that_is_searched_like_all_of_others(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(build_dockerfile, "__defaults__", ((engine,),))
    folder = project(tmp_path / "p")
    objects, stages = ObjectStore(tmp_path / "home"), []
    recipe = parse_recipe({"recipe": "dockerfile", "target": "web", "args": {"WORD": "tide"}, "directories": ["/data"]})
    options = {"objects": objects, "cache": tmp_path / "cache", "name": "web"}
    found = build(recipe, folder, **options, progress=lambda stage: stages.append((stage.name, stage.state)))
    images = Images(objects, tmp_path / "trees")
    config = images.config(found.digest)
    assert (config.entrypoint, config.user, dict(config.env)["WORD"]) == (("/opt/program",), "10001", "tide")
    assert len(config.input) == 71 and ("build", "done") in stages and not (folder / "skerry.lock").exists()
    again = build(recipe, folder, **options)
    assert again.digest == found.digest
    slim = build(parse_recipe({"recipe": "dockerfile", "target": "web", "slim": True}), folder, **options)
    assert slim.executables == ("opt/program",)
    (folder / "sh").write_bytes(tiny_program("x86_64"))
    (folder / "sh").chmod(0o755)
    (folder / "Dockerfile").write_text('FROM scratch\nCOPY sh /bin/sh\nCOPY program /p\nENTRYPOINT ["/p"]\n')
    with pytest.raises(ImageRefused, match="bin/sh"):
        build(parse_recipe({"recipe": "dockerfile"}), folder, **options)
    slim = build(parse_recipe({"recipe": "dockerfile", "slim": True}), folder, **options)
    assert [entry.path for entry in images.tree(slim.digest).files() if entry.mode == 0o755] == ["p"]


@pytest.mark.parametrize(
    "more", [{"file": "../x"}, {"packages": ["curl"]}, {"args": {"A=B": "1"}}, {"keep": ["x"]}, {"path": "x.tar"}]
)
def test_a_recipe_with_a_mistake_is_refused(more):
    with pytest.raises(BadRecipe):
        parse_recipe({"recipe": "dockerfile", **more})


def test_without_an_engine_it_says_why_each_does_not_work_and_what_to_write(tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "docker").write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    (programs / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(NoImageBuilder) as error:
        build_dockerfile(Wish(), project(tmp_path / "p"), tmp_path / "cache", lambda line: None)
    assert "buildah isn't installed" in error.value.why and "Cannot connect" in error.value.why
    assert "python, node, static, debian" in error.value.fix and "archive" in error.value.fix


@pytest.mark.parametrize("file", ["Nothing", "../Dockerfile", "link"])
def test_a_dockerfile_that_is_not_of_the_project_is_refused(tmp_path, file):
    folder = project(tmp_path / "p")
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (folder / "link").symlink_to("../Dockerfile")
    with pytest.raises(BuildRefused, match="no such file"):
        build_dockerfile(Wish(file), folder, tmp_path / "cache", lambda line: None)

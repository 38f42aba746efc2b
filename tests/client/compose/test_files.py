"""The file and what lies beside it: settings, folders to build, the demo's example."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry.client.compose import ComposeErrors, ImageRef, load
from skerry.client.compose.load import NoComposeFile

GUESTBOOK = Path(__file__).parents[3] / "examples" / "guestbook"


def test_the_example_of_the_demo_is_good() -> None:
    app = load(GUESTBOOK, environ={})
    assert {name: plan.service.replicas for name, plan in app.services.items()} == {"web": 3, "store": 1}
    assert app.warnings == ()


def test_files_beside_it_are_read(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(
        "services: {web: {image: '${IMAGE}', env_file: web.env, environment: {B: own}}}"
    )
    (tmp_path / ".env").write_text("IMAGE=from-dotenv\n")
    (tmp_path / "web.env").write_text("# settings\nexport A='1 # 2'\nB=2\nC=\"x\\ty\" # tab\n")
    app = load(tmp_path, environ={}, name="app")
    assert app.services["web"].image == ImageRef("from-dotenv")
    assert app.services["web"].environment == {"A": "1 # 2", "B": "own", "C": "x\ty"}
    assert load(tmp_path, environ={"IMAGE": "own"}, name="app").services["web"].image == ImageRef("own")


def test_a_build_folder_brings_its_recipe(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {web: {build: ./web}}")
    with pytest.raises(ComposeErrors, match="1 mistake") as raised:
        load(tmp_path, environ={}, name="app")
    assert "skerry image init ./web" in raised.value.why
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "image.toml").write_text('[image]\nrecipe = "python"\n')
    image = load(tmp_path, environ={}, name="app").services["web"].image
    assert image.content["context"] == "./web" and image.content["recipe"] == "python"  # type: ignore[union-attr]


def test_a_folder_without_a_compose_file_and_one_that_is_not_text(tmp_path: Path) -> None:
    with pytest.raises(NoComposeFile, match="holds no compose file"):
        load(tmp_path, environ={})
    (tmp_path / "compose.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NoComposeFile, match="was not read"):
        load(tmp_path, environ={})

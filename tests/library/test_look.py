"""`skerry image ls`, `inspect`, `diff`, `verify`, `rm`, `gc`: looking at images, and making room."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from library.conftest import Home, damage
from skerry.image.oci import parse_manifest

pytestmark = pytest.mark.real


def edited(home: Home, project: Path, tmp_path: Path) -> tuple[str, str]:
    """The digests of guestbook.web and of the same with one line more, which is called "edited"."""
    import shutil

    folder = tmp_path / "guestbook"
    shutil.copytree(project, folder)
    code = folder / "web" / "guestbook.py"
    code.write_text(code.read_text() + "\nEDITED = True\n")
    home("build", "-f", str(folder / "compose.yaml"), "web", "--name", "edited")
    return home.images.names["guestbook.web"], home.images.names["edited"]


def test_ls_names_sizes_ages_and_users(copied: Home) -> None:
    images = copied.images
    digests = images.names
    images.note_use("home", "guestbook", {"web": digests["guestbook.web"]})
    rows = copied("ls", "--json").json
    web = next(row for row in rows if row["name"] == "guestbook.web")
    assert web["digest"] == digests["guestbook.web"]
    assert web["used_by"] == ["home/guestbook.web"]
    assert web["size_bytes"] > 30e6
    assert time.time() - web["when_s"] < 3600
    assert "home/guestbook.web" in copied("ls").out


def test_inspect_tells_config_tree_packages_origin_and_lock(home: Home) -> None:
    found = home("inspect", "guestbook.store", "--json").json
    assert found["names"] == ["guestbook.store"]
    assert found["config"]["entrypoint"] == ["/usr/bin/redis-server"]
    assert found["tree"]["files"] == 38
    assert found["biggest"][0]["path"].endswith("libcrypto.so.3")
    assert found["shells"] == []
    assert {p["name"] for p in found["packages"]} >= {"redis-server", "libc6", "libssl3", "ca-certificates"}
    assert "perl-base" not in {p["name"] for p in found["packages"]}
    assert (found["origin"]["how"], found["origin"]["recipe"]) == ("built", "debian")
    assert len(found["lock"]["debs"]) > len(found["packages"])
    text = home("inspect", "guestbook.store").out
    assert "/usr/bin/redis-server" in text and "redis-tools" in text
    short = found["digest"][7:19]
    assert home("inspect", short, "--json").json["digest"] == found["digest"]


def test_diff_of_an_edit_names_the_file_and_what_would_travel(home: Home, project: Path, tmp_path: Path) -> None:
    old, new = edited(home, project, tmp_path)
    found = home("diff", old, new, "--json").json
    assert [row["path"] for row in found["files"]] == [
        "app/__pycache__/guestbook.cpython-311.pyc",
        "app/guestbook.py",
    ]
    assert found["packages"] == []
    assert 0 < found["travels"]["bytes"] < 1000
    assert found["travels"]["how"] == "one bundle"
    assert "app/guestbook.py" in home("diff", old, new).out
    assert home("diff", old, old, "--json").json["travels"]["bytes"] == 0
    home("rm", "edited")


def test_diff_of_two_programs_names_their_packages(home: Home) -> None:
    found = home("diff", "guestbook.store", "guestbook.web", "--json").json
    changed = {row["name"]: (row["old"], row["new"]) for row in found["packages"]}
    assert changed["redis-server"][1] is None
    assert changed["python3.11-minimal"][0] is None
    assert "libc6" not in changed
    assert {row["field"] for row in found["config"]} >= {"entrypoint", "cmd"}
    assert found["travels"]["bytes"] > 5e6


def test_verify_names_the_file_with_a_flipped_bit_and_a_build_mends_it(copied: Home, project: Path) -> None:
    images = copied.images
    digest = images.names["guestbook.store"]
    whole = copied("verify", "guestbook.store", "--json").json
    assert whole["objects"] > 30
    entry = next(entry for entry in images.images.tree(digest).files() if entry.path.endswith("libssl.so.3"))
    path = images.objects.path(entry.sha256)
    data = bytearray(path.read_bytes())
    data[1000] ^= 4
    damage(path, bytes(data))
    refused = copied("verify", "guestbook.store", "--json", code=1).json["error"]
    assert refused["code"] == "image-damaged"
    assert entry.path in refused["why"]
    copied("build", "-f", str(project / "compose.yaml"), "store")
    copied("verify", "guestbook.store")


@pytest.mark.parametrize("which", ["manifest", "config", "tree"])
def test_verify_names_a_damaged_document(copied: Home, which: str) -> None:
    images = copied.images
    hash = images.names["guestbook.store"][7:]
    refs = parse_manifest(images.objects.read(hash))
    path = images.objects.path({"manifest": hash, "config": refs.config, "tree": refs.tree}[which])
    damage(path, b"x" + path.read_bytes()[1:])
    assert which in copied("verify", "guestbook.store", "--json", code=1).json["error"]["why"]


def test_gc_removes_what_has_no_name_and_is_old_and_nothing_else(copied: Home, project: Path, tmp_path: Path) -> None:
    old, new = edited(copied, project, tmp_path)
    images = copied.images
    kept = set(images.images.objects(old)) | set(images.images.objects(images.names["guestbook.store"]))
    assert copied("gc", "--older-than", "1h", "--json").json["images"] == []
    copied("rm", "edited")
    assert new in {row["digest"] for row in copied("ls", "--json").json}
    assert copied("gc", "--older-than", "1h", "--json").json["images"] == []  # it is too young
    age(copied, new)
    would = copied("gc", "--older-than", "1h", "--dry-run", "--json").json
    assert would["images"] == [new]
    assert would["objects"] >= 4
    assert images.images.missing(new) == []
    done = copied("gc", "--older-than", "1h", "--json").json
    assert (done["images"], done["objects"]) == (would["images"], would["objects"])
    assert images.images.missing(new) != []
    assert images.objects.missing(sorted(kept)) == []
    copied("verify", "guestbook.web")
    assert new not in {row["digest"] for row in copied("ls", "--json").json}


def test_gc_keeps_what_a_deploy_from_here_brought_to_a_cloud(copied: Home, project: Path, tmp_path: Path) -> None:
    _, new = edited(copied, project, tmp_path)
    copied.images.note_use("home", "guestbook", {"web": new})
    copied("rm", "edited")
    age(copied, new)
    assert copied("gc", "--older-than", "1h", "--json").json["images"] == []
    copied.images.note_use("home", "guestbook", {})
    assert copied("gc", "--older-than", "1h", "--json").json["images"] == [new]


def test_gc_removes_nothing_while_a_kept_image_is_damaged(copied: Home, project: Path, tmp_path: Path) -> None:
    _, new = edited(copied, project, tmp_path)
    copied("rm", "edited")
    age(copied, new)
    images = copied.images
    damage(images.objects.path(images.names["guestbook.store"][7:]), b"{}")
    done = copied("gc", "--older-than", "1h", "--json").json
    assert done["damaged"] == [images.names["guestbook.store"]]
    assert (done["images"], done["objects"]) == ([], 0)
    assert images.images.missing(new) == []


def age(home: Home, digest: str) -> None:
    """As if it had come a day ago."""
    import msgspec

    images = home.images
    origin = images.origins.get(digest)
    assert origin is not None
    then_s = time.time() - 86400
    images.origins.put(digest, msgspec.structs.replace(origin, when_s=then_s))
    for hash in images.objects:
        os.utime(images.objects.path(hash), (then_s, then_s))


def test_gc_of_downloads_leaves_those_that_builds_have_used(other: Home) -> None:
    cache = other.images_dir / "cache" / "unpacked"
    cache.mkdir(parents=True)
    then_s = time.time() - 86400
    for name, when_s in (
        ("old.tar", then_s),
        ("old.msgpack", then_s),
        ("new.tar", then_s),
        ("new.msgpack", time.time()),
    ):
        (cache / name).write_bytes(b"x" * 1000)
        os.utime(cache / name, (when_s, when_s))
    assert other("gc", "--older-than", "1h", "--json").json["downloads_bytes"] == 0
    assert other("gc", "--older-than", "1h", "--downloads", "--dry-run", "--json").json["downloads_bytes"] == 2000
    assert other("gc", "--older-than", "1h", "--downloads", "--json").json["downloads_bytes"] == 2000
    assert sorted(path.name for path in cache.iterdir()) == ["new.msgpack", "new.tar"]


@pytest.mark.parametrize("verb", ["inspect", "verify", "sbom"])
def test_an_image_that_is_not_here_is_said(home: Home, verb: str) -> None:
    for ref in ("nobody", "sha256:" + "0" * 64, "0000000"):
        assert home(verb, ref, "--json", code=2).json["error"]["code"] == "image-not-found"


def test_names_that_are_damaged_are_said(other: Home) -> None:
    other("ls")
    (other.images_dir / "names.json").write_text("{not json")
    assert "names.json is damaged" in other("ls", "--json", code=2).json["error"]["why"]


def test_completion_offers_the_names(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from skerry.cli.main import run

    monkeypatch.setenv("SKERRY_HOME", str(home.directory))
    monkeypatch.setenv("_SKERRY_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "skerry image inspect guestbook.w")
    monkeypatch.setenv("COMP_CWORD", "3")
    with pytest.raises(SystemExit):
        run([])
    assert capsys.readouterr().out.split() == ["plain,guestbook.web"]

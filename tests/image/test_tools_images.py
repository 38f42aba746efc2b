"""The tools images that Skerry brings along, built for real: what is in them runs, they are small, the same everywhere, and no app."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from skerry.client.images import LocalImages
from skerry.client.toolmaking import build
from skerry.errors import BadInput
from skerry.image.building.recipes import tools_names
from skerry.image.building.sources.lock import FILE_NAME
from skerry.image.lint.findings import ALLOWABLE, ImageRefused, by_kind, check
from skerry.image.lint.verdicts import Verdicts

pytestmark = pytest.mark.real
CACHE = Path(__file__).parents[2] / "build" / "cache"


class Promise(NamedTuple):
    most_bytes: int
    says: dict[str, str]  # command -> what its output holds


PROMISED = {
    "base": Promise(
        54_000_000,
        {
            "strace -V": "strace -- version", "gdb --version": "GNU gdb", "lsof -v": "lsof version", "ss -V": "iproute2",
            "tcpdump --version": "tcpdump version", "curl --version": "curl 7", "dig -V": "Knot DNS", "less --version": "less",
            "journalctl --version": "systemd 252",
            "nano --version": "GNU nano", "sh -c 'ls /; ps; vi --help'": "target", "cat /etc/passwd": "root",
        },
    ),
    "python": Promise(12_000_000, {"py-spy --version": "py-spy 0.", "sh -c 'ls /'": "target"}),
    "perf": Promise(
        42_000_000, {"perf --version": "perf version", "flamegraph --version": "flamegraph 0.", "sh -c 'ls /'": "target"}
    ),
}  # fmt: skip


def store(home: Path) -> LocalImages:
    images = LocalImages(home)
    images.cache = CACHE
    return images


@pytest.mark.parametrize("name", PROMISED)
def test_a_shipped_tools_image_holds_what_it_promises_and_comes_out_the_same_of_one_lock(
    name: str, tmp_path: Path
) -> None:
    one, other = store(tmp_path / "one"), store(tmp_path / "other")
    built = build(one, name, lambda stage: None)
    (other.tools / name).mkdir(parents=True)
    (other.tools / name / FILE_NAME).write_bytes((one.tools / name / FILE_NAME).read_bytes())
    assert build(other, name, lambda stage: None).digest == built.digest
    assert one.names == {f"tools/{name}": built.digest}
    assert built.size_bytes < PROMISED[name].most_bytes
    root = one.images.make(built.digest)
    for command, text in PROMISED[name].says.items():
        run = ["unshare", "-m", "sh", "-c", f"mount --bind /dev {root}/dev && exec chroot {root} {command}"]
        said = subprocess.run(run, capture_output=True, text=True, env={"PATH": "/usr/bin:/usr/sbin"}, timeout=20)
        assert text in said.stdout + said.stderr, (command, said)
    found = by_kind(Verdicts(tmp_path / "lint", one.objects).of(built.digest))
    assert "tools" in found and "shell" in found and "undeclared" not in found
    with pytest.raises(ImageRefused, match="is an image of tools"):
        check(Verdicts(tmp_path / "lint", one.objects).of(built.digest), ALLOWABLE, what="the image of shop.web")


def test_own_tools_are_a_folder_with_a_recipe(tmp_path: Path) -> None:
    folder = tmp_path / "kit"
    folder.mkdir()
    recipe = '[image]\nrecipe = "debian"\npackages = ["strace"]\nentrypoint = ["/usr/bin/strace"]\n'
    (folder / "image.toml").write_text(recipe)
    images = store(tmp_path / "store")
    built = build(images, "mine", lambda stage: None, folder=folder)
    assert images.images.config(built.digest).tools and images.names == {"tools/mine": built.digest}
    with pytest.raises(BadInput, match=r"mine were not built: Skerry brings base, bpf, memray, perf, python along"):
        build(images, "mine", lambda stage: None)


def test_each_shipped_one_is_promised_here_or_too_large_for_each_run() -> None:
    assert {*tools_names()} == {*PROMISED, "bpf", "memray"}


def test_reports_are_made_of_what_a_program_recorded_about_itself(tmp_path: Path) -> None:
    images = store(tmp_path)
    root = images.images.make(build(images, "memray", lambda stage: None).digest)
    script = f"""
        mount -t tmpfs none {root}/tmp && mount --bind /dev {root}/dev && mount --bind /proc {root}/proc && exec chroot {root} sh -c '
        cd /tmp; python3 -m memray run -q -o own.bin -c "kept = [bytes(1000) for _ in range(20000)]" &&
        python3 -m memray stats own.bin && python3 -m memray flamegraph -o own.html own.bin && grep -c "<script" own.html
        python3 -m memray attach 1'"""
    said = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert "<listcomp>:<string>:1 -> 2" in said.stdout and "Wrote own.html" in said.stdout, said
    assert "Cannot find a supported lldb or gdb executable" in said.stdout + said.stderr, "it is for reports alone"

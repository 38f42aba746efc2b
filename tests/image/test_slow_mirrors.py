"""Mirrors that stop, trickle, or give other bytes while a build fetches; and Ctrl-C meanwhile, of the command itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from image.tiny import DEB, Tiny, tiny
from skerry.errors import SkerryError

SKERRY = str(Path(sys.executable).with_name("skerry"))
RECIPE = """
[image]
recipe = "debian"
entrypoint = ["/usr/bin/app"]
[debian]
packages = ["app"]
[files]
"/etc/app" = "conf"
"""


class Mirror:
    """`way`: how it fails. `asked` is set once a request has come."""

    def __init__(self, way: str) -> None:
        self.way, self.asked, self.over = way, threading.Event(), threading.Event()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.asked.set()
                if mirror.way == "says nothing":
                    mirror.over.wait(60)
                    return
                self.send_response(200)
                self.send_header("content-length", str(len(DEB)))
                self.end_headers()
                if mirror.way == "other bytes":
                    self.wfile.write(bytes(len(DEB)))
                elif mirror.way == "is cut":
                    self.wfile.write(DEB[:100])
                    self.connection.close()
                else:
                    self.wfile.write(DEB[:1])
                    self.wfile.flush()
                    for byte in DEB[1:]:
                        if mirror.over.wait(0.05 if mirror.way == "trickles" else 60):
                            return
                        self.wfile.write(bytes([byte]))

            def log_message(self, *ignored: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *ignored: None  # type: ignore[method-assign,assignment]
        self.url = f"http://127.0.0.1:{self.server.server_port}/debian"


@contextmanager
def mirror(way: str) -> Iterator[Mirror]:
    running = Mirror(way)
    threading.Thread(target=running.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield running
    finally:
        running.over.set()
        running.server.shutdown()
        running.server.server_close()


@pytest.mark.parametrize(
    ("way", "code", "said"),
    [
        ("says nothing", "download-failed", "timed out"),
        ("stops", "download-failed", "timed out"),
        ("trickles", "download-failed", "bytes in"),
        ("is cut", "download-failed", ""),
        ("other bytes", "download-refused", "not the signed or locked one"),
    ],
)
def test_a_mirror_that(tmp_path: Path, way: str, code: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skerry.image.building.sources.fetch.TIMEOUT_S", 0.4)
    monkeypatch.setattr("skerry.image.building.sources.fetch.TRIES", 1)
    of = tiny(tmp_path)
    lock = (of.project / "skerry.lock").read_bytes()
    with mirror(way) as slow:
        monkeypatch.setenv("SKERRY_DEBIAN_MIRROR", slow.url)
        with pytest.raises(SkerryError) as refused:
            of.build()
    assert refused.value.code == code and said in refused.value.why and refused.value.fix, repr(refused.value)
    assert slow.url in refused.value.what
    assert of.rests() == [] and of.images.names == {} and not list(of.home.rglob("*.deb"))
    assert (of.project / "skerry.lock").read_bytes() == lock


@pytest.mark.parametrize("way", ["says nothing", "stops"])
def test_ctrl_c_ends_the_command_at_once(tmp_path: Path, way: str) -> None:
    of = tiny(tmp_path)
    (of.project / "image.toml").write_text(RECIPE)
    lock = (of.project / "skerry.lock").read_text().replace('"app"', '"project"', 1)
    (of.project / "skerry.lock").write_text(lock)
    with mirror(way) as slow:
        environment = {**os.environ, "SKERRY_HOME": str(of.home), "SKERRY_DEBIAN_MIRROR": slow.url}
        process = subprocess.Popen(
            [SKERRY, "image", "build", str(of.project), "--json"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert slow.asked.wait(60), process.communicate()
        began_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
        took_s = time.monotonic() - began_s
    assert process.returncode == 1, (out, err)
    assert json.loads(out)["error"]["code"] == "interrupted"
    assert b"Traceback" not in err
    assert took_s < 15, f"{took_s:.1f} s"
    images = Tiny(of.home / "images", of.project)
    assert images.rests() == [] and images.images.names == {} and (of.project / "skerry.lock").read_text() == lock

"""`skerry ui` as it is typed: the link that it prints, the file that leads a browser there, and its end."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from skerry.ui.serve import leading_to


def test_it_prints_a_link_serves_it_and_ends_when_it_is_told_to(home: Path) -> None:
    command = [sys.executable, "-m", "skerry", "ui", "--no-open"]
    environ = os.environ | {"SKERRY_HOME": str(home), "SKERRY_PASSPHRASE": ""}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as running:
        assert running.stdout is not None
        link = running.stdout.readline().strip()
        url, _, token = link.partition("/#enter=")
        with httpx.Client(base_url=url, headers={"Origin": url}, trust_env=False) as client:
            key = client.post("/enter", json={"token": token}).json()["key"]
            assert client.get("/v1/whoami", headers={"x-skerry-key": key}).json()["cloud"] == "small"
            assert token not in Path(f"/proc/{running.pid}/cmdline").read_text()
            running.send_signal(signal.SIGINT)
            assert running.wait(20) == 0
            with pytest.raises(httpx.ConnectError):
                client.get("/v1/whoami")


def test_the_file_that_leads_a_browser_there_is_this_users_alone_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with leading_to('http://127.0.0.1:1/#enter=a"><script>') as page:
        assert stat.S_IMODE(page.stat().st_mode) == 0o600
        assert page.parent == tmp_path
        assert "<script>" not in page.read_text() and "url=http://127.0.0.1:1/#enter=a" in page.read_text()
    assert not page.exists()

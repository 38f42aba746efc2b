"""One lab host for all tests of a module, and a bundle whose agent is a shell script with the real one's verbs."""

from __future__ import annotations

import io
import os
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from checkout import lab_name
from skerry.lab import Lab
from skerry.machines.ssh import Ssh

AGENT = """\
#!/bin/sh
# The verbs of skerry-agent, without what they mean. VERSION
state=/var/lib/skerry
case $1 in
keys) mkdir -p $state; [ -e $state/key ] || cat /proc/sys/kernel/random/uuid >$state/key
      echo "{\\"signing\\": \\"$(cat $state/key)\\"}" ;;
join) cat >$state/node.json.new
      if grep -q refuse-me $state/node.json.new; then
          echo 'INFO something else' >&2
          echo '{"error": {"what": "the host was not joined", "why": "a test", "fix": "none", "code": "other-cloud"}}' >&2
          exit 3
      fi
      mv $state/node.json.new $state/node.json ;;
run)  [ -e $state/broken ] && { echo "a bone is broken" >&2; exit 1; }
      echo "agent VERSION runs"; systemd-notify --ready; while :; do sleep 1000; done ;;
purge) rm -f $state/containers ;;
esac
"""


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("the lab needs root on Linux")
    lab = Lab(lab_name("tm-" + request.module.__name__.rpartition("test_")[2].replace("_", "-")))
    lab.down()
    lab.up(1)
    try:
        yield lab
    finally:
        lab.down()
    assert lab.leftovers() == []


@pytest.fixture
def ssh(lab: Lab) -> Iterator[Ssh]:
    with Ssh("root@vps-1", config=lab.ssh_config()) as ssh:
        yield ssh


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[[str], Path]:
    def make(version: str) -> Path:
        path = tmp_path / f"skerry-agent-{version}.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            for name, text, mode in (
                ("bin/skerry-agent", AGENT.replace("VERSION", version), 0o755),
                ("lib/data with a blank", "x" * 100_000, 0o644),
            ):
                info = tarfile.TarInfo(f"{version}/{name}")
                data = text.encode()
                info.size, info.mode = len(data), mode
                tar.addfile(info, io.BytesIO(data))
        return path

    return make

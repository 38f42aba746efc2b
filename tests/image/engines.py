"""buildah and docker for tests: each with a store of its own, so that nothing of this machine's is touched and nothing stays."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WITH_US = ("setpriv", "--pdeathsig", "KILL")  # what is run so ends with us, however we end
DAEMON = """
mount --make-rprivate / && mount -t tmpfs tmpfs /run && ip link set lo up
exec dockerd --data-root {home}/data --exec-root /run/docker -H unix://{home}/docker.sock --pidfile /run/docker.pid \\
    --oom-score-adjust 0 --iptables=false --bridge=none
"""


@contextmanager
def buildah(home: Path) -> Iterator[dict[str, str]]:
    """The environment in which `buildah` uses `home` alone."""
    home.mkdir()
    (home / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{home}/graph"\nrunroot = "{home}/run"\n'
    )
    yield {"CONTAINERS_STORAGE_CONF": str(home / "storage.conf")}


@contextmanager
def docker(home: Path) -> Iterator[dict[str, str]]:
    """The environment in which `docker` talks to a daemon of its own, which has no network and ends with this."""
    home.mkdir()
    namespaces = [*WITH_US, "unshare", "-m", "-n", "-p", "-f", "--kill-child", "--mount-proc"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([*namespaces, "sh", "-c", DAEMON.format(home=home)], stdout=log, stderr=log)
    environment = {"DOCKER_HOST": f"unix://{home}/docker.sock", "DOCKER_BUILDKIT": "0", "HOME": str(home)}
    try:
        until_s = time.monotonic() + 90
        while subprocess.run(
            ["docker", "version"], env={**os.environ, **environment}, capture_output=True, check=False
        ).returncode:
            assert process.poll() is None and time.monotonic() < until_s, (home / "log").read_text()[-2000:]
            time.sleep(0.1)
        yield environment
    finally:
        process.kill()  # the daemon and all that it started go with it
        process.wait()
        for left in Path("/sys/fs/cgroup").glob("*/docker"):
            with_nobody = not [line for path in left.rglob("cgroup.procs") for line in path.read_text().split()]
            if with_nobody:
                subprocess.run(["find", left, "-depth", "-type", "d", "-delete"], check=False, capture_output=True)


def there(engine: str) -> bool:
    needs = ("docker", "dockerd", "unshare") if engine == "docker" else (engine,)
    return all(shutil.which(program) for program in needs) and os.geteuid() == 0

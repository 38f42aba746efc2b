"""The smallest thing that answers HTTP: busybox's httpd as an image of one program and one page, and its compose file.

A server that is up at once, so that what is measured is Skerry and not an application's own start.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

APP = "static"
PORT = 8088
NAMED = "mkdir /tmp/www; echo {version} $(hostname) >/tmp/www/index.html; exec httpd -f -p 80 -h /tmp/www"
COMPOSE = """\
name: {app}
services:
  web:
    image: {image}
    ports: ["{port}:80"]
    healthcheck:
      test: curl -f http://localhost/
      interval: 5s
      timeout: 1s
    x-skerry:
      drain: 200ms
      allow: {{shell: "busybox is the smallest server there is, and up at once"}}
    deploy:
      replicas: {replicas}
      update_config: {{parallelism: 1, order: start-first, delay: 0s}}
"""


def write_compose(
    folder: Path, version: int, *, replicas: int, app: str = APP, port: int = PORT, digest: str = ""
) -> Path:
    """A compose file whose image serves page number `version`: an archive beside it, or, `digest`, what was taken in before."""
    image = folder / f"static-{version}.tar"
    if not image.exists():
        image.write_bytes(archive(version))
    path = folder / f"{app}-{version}-{replicas}{'-held' if digest else ''}.yaml"
    path.write_text(COMPOSE.format(app=app, image=digest or image.name, port=port, replicas=replicas))
    return path


def archive(version: int, *, tag: str = "", named: bool = False) -> bytes:
    """The image as a docker-archive. Every mount point that a container needs is in it: no skeleton has to be laid over it.

    `named`: its page also says the container's host name, and it stops by SIGKILL, so that nobody's grace is in a figure.
    """
    busybox = shutil.which("busybox")
    if busybox is None:
        raise FileNotFoundError("busybox is not installed: apt-get install busybox-static")
    layer = _tar(
        {
            **dict.fromkeys(("bin", "dev", "etc", "proc", "run", "sys", "tmp", "www"), None),
            **{f"bin/{name}": Path(busybox).read_bytes() for name in (("sh",) if named else ("httpd",))},
            "etc/passwd": b"root:x:0:0::/:\nweb:x:10001:10001::/www:\n",
            **dict.fromkeys(("etc/hosts", "etc/hostname", "etc/resolv.conf"), b""),
            "www/index.html": f"page {version}\n".encode(),
        }
    )
    start: dict[str, Any] = {"Entrypoint": ["/bin/httpd", "-f", "-p", "80", "-h", "/www"], "User": "10001:10001"}
    if named:
        start |= {"Entrypoint": ["/bin/sh", "-ec", NAMED.format(version=version)], "StopSignal": "SIGKILL"}
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": start,
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [tag] if tag else None, "Layers": ["layer.tar"]}]
    return _tar(
        {
            "config.json": json.dumps(config).encode(),
            "layer.tar": layer,
            "manifest.json": json.dumps(manifest).encode(),
        }
    )


def _tar(entries: dict[str, bytes | None]) -> bytes:
    """Names to contents; None: a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.mode = 0o755 if content is None or name.startswith("bin/") else 0o644
            info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            if name == "tmp":
                info.mode = 0o1777
            info.size = len(content or b"")
            tar.addfile(info, io.BytesIO(content or b""))
    return out.getvalue()

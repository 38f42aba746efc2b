"""The metadata service at 169.254.169.254: who asks is told from the address. Anybody on the machine can read all of it."""

from __future__ import annotations

from typing import Any

import msgspec

from skerry.lab.ocean.droplets import Droplet


def answer(droplet: Droplet, path: str) -> bytes | None:
    """The body, or None for a path that isn't there. `meta-data` is for cloud-init's NoCloud; the provider has it not."""
    if path == "/metadata/v1.json":
        return msgspec.json.encode(_all(droplet))
    texts = {
        "id": str(droplet.id),
        "hostname": droplet.name,
        "region": droplet.region,
        "user-data": droplet.user_data,
        "vendor-data": "",
        "public-keys": "",
        "tags": "\n".join(droplet.tags),
        "interfaces/public/0/ipv4/address": droplet.address,
        "meta-data": msgspec.json.encode({"instance-id": str(droplet.id), "local-hostname": droplet.name}).decode(),
    }
    text = texts.get(path.removeprefix("/metadata/v1/").rstrip("/"))
    return None if text is None else text.encode()


def _all(droplet: Droplet) -> dict[str, Any]:
    return {
        "droplet_id": droplet.id,
        "hostname": droplet.name,
        "region": droplet.region,
        "user_data": droplet.user_data,
        "vendor_data": "",
        "public_keys": [],
        "tags": droplet.tags,
        "interfaces": {
            "public": [{"type": "public", "ipv4": {"ip_address": droplet.address, "netmask": "255.255.255.0"}}]
        },
    }

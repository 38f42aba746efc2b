"""How a person gets in: the lab's own key pair, a host key for each host, an ssh configuration that knows them."""

from __future__ import annotations

from pathlib import Path

from skerry.lab.programs import run
from skerry.lab.state import State


def make_operator_key(directory: Path) -> None:
    """`<directory>/ssh/id_ed25519`, for the operator of this lab alone: nobody's own key is touched or needed."""
    place = directory / "ssh"
    place.mkdir(mode=0o700, exist_ok=True)
    _make_key(place / "id_ed25519", "operator of the lab")


def make_host_keys(directory: Path, host: str) -> Path:
    """The directory with what the host's disk gets: its own key pair, and whom it lets in."""
    place = directory / "ssh" / host
    place.mkdir(mode=0o700, exist_ok=True)
    _make_key(place / "ssh_host_ed25519_key", host)
    (place / "authorized_keys").write_bytes((directory / "ssh/id_ed25519.pub").read_bytes())
    return place


def write_config(directory: Path, state: State) -> Path:
    """`ssh -F <directory>/ssh/config root@vps-1`, or by address. A host whose key is another one is refused."""
    place = directory / "ssh"
    lines, known = [], []
    for host in state.hosts:
        address = state.address(host)
        key = (place / host.name / "ssh_host_ed25519_key.pub").read_text().split()[:2]
        known.append(f"{host.name},{address} {' '.join(key)}")
        lines += [f"Host {host.name}", f"    HostName {address}"]
    lines += [
        f"Host {' '.join(host.name for host in state.hosts)} {state.subnet}.*",
        "    User root",
        f'    IdentityFile "{place / "id_ed25519"}"',
        "    IdentitiesOnly yes",
        f'    UserKnownHostsFile "{place / "known_hosts"}"',
        "    StrictHostKeyChecking yes",
        "    GSSAPIAuthentication no",
        "    ConnectTimeout 5",
    ]
    (place / "known_hosts").write_text("\n".join(known) + "\n")
    config = place / "config"
    config.write_text("\n".join(lines) + "\n")
    return config


def _make_key(path: Path, comment: str) -> None:
    if not path.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])

"""What lies on a host's disk, and where: the state directory (`/var/lib/skerry`) and the host's own keys, which never leave it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection
from pathlib import Path

import msgspec

from skerry.errors import Refusal
from skerry.trust.identity import Signer, certificate, private_pem, sealing_public, wireguard_public

KEYS = ("signing", "sealing", "wireguard")


class NotJoined(Refusal):
    """The agent was asked to run on a host that no cloud has taken in."""

    code = "not-joined"


class OtherCloud(Refusal):
    """The host belongs to another cloud already."""

    code = "other-cloud"
    exit_code = 3


class Membership(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`node.json`: which node of which cloud this host is. `cloud` pins the first root."""

    cloud: str
    node: str
    network: str = "10.77.0.0/16"


class PublicKeys(msgspec.Struct, frozen=True):
    """What `skerry-agent keys` prints, and an enrolment states. Hex; the certificate is base64 DER."""

    signing: str
    sealing: str
    wireguard: str
    certificate: str


class HostFiles:
    """Paths and keys below the state directory."""

    def __init__(self, state: Path, run: Path = Path("/run/skerry")) -> None:
        self.state = state
        self.run = run
        self.volumes = state / "volumes"
        self.scratch = state / "scratch"
        self.beginnings = state / "beginnings"  # what lay in volumes when their containers started
        self.logs = state / "logs"  # what monitors write, by container
        self.kept_logs = state / "logs-kept"  # what is kept of it, by slot
        self.containers = run / "containers"  # on a tmpfs: a dozen small files each, worth nothing after a reboot
        self.images = state / "images"
        self.cores = state / "cores"
        self.lint = state / "lint"
        self.net = state / "net"

    def own_logs(self) -> list[Path]:
        """What the agent itself says, oldest first: the last is written to."""
        return [self.state / "agent.log.1", self.state / "agent.log"]

    def make_keys(self) -> PublicKeys:
        """Make what is missing; a second call gives the same keys."""
        directory = self.state / "keys"
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in KEYS:
            if not (directory / name).exists():
                _write(directory / name, secrets.token_bytes(32).hex().encode())
        der = directory / "certificate.der"
        if not der.exists():
            _write(der, certificate(self.seed("signing"), "skerry", secrets.randbits(63)))
        return self.public_keys()

    def seed(self, name: str) -> bytes:
        """A private key, 32 bytes. Raises NotJoined when there is none."""
        try:
            return bytes.fromhex((self.state / "keys" / name).read_text().strip())
        except FileNotFoundError:
            raise NotJoined(
                "the agent can't run", f"{self.state} holds no {name} key", "join it: skerry host add"
            ) from None

    def keeper(self, *, barred: Collection[str] = ()) -> Signer:
        """The key by which this host signs the machines of pools that it keeps; made at the first call, and anew if it is
        `barred`.
        """
        place = self.state / "keys" / "keeper"
        if not place.exists() or Signer(self.seed("keeper")).key in barred:
            _write(place, secrets.token_bytes(32).hex().encode())
        return Signer(self.seed("keeper"))

    @property
    def is_keeper(self) -> bool:
        """Whether it was ever asked for such a key."""
        return (self.state / "keys" / "keeper").exists()

    @property
    def certificate(self) -> bytes:
        return (self.state / "keys" / "certificate.der").read_bytes()

    def public_keys(self) -> PublicKeys:
        import base64

        return PublicKeys(
            signing=Signer(self.seed("signing")).key,
            sealing=sealing_public(self.seed("sealing")),
            wireguard=wireguard_public(self.seed("wireguard")),
            certificate=base64.b64encode(self.certificate).decode(),
        )

    def private_pem(self) -> bytes:
        return private_pem(self.seed("signing"))

    def membership(self) -> Membership | None:
        try:
            return msgspec.json.decode((self.state / "node.json").read_bytes(), type=Membership)
        except FileNotFoundError:
            return None

    def join(self, membership: Membership, *, adopt: bool = False) -> None:
        """Remember the cloud. Raises OtherCloud unless it is the same one or `adopt`."""
        held = self.membership()
        if held is not None and held.cloud != membership.cloud and not adopt:
            raise OtherCloud(
                f"this host was not joined to cloud {membership.cloud[:12]}",
                f"it is {held.node} of cloud {held.cloud[:12]}",
                "take it out there first (skerry host rm), or take it over: skerry host adopt",
            )
        self.state.mkdir(parents=True, exist_ok=True)
        _write(self.state / "node.json", msgspec.json.encode(membership))


def _write(path: Path, data: bytes) -> None:
    """Atomic and synced; readable by root alone."""
    temporary = path.with_name(path.name + ".new")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)

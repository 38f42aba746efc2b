"""An image from an ordinary registry, by digest, on the operator's machine only: hosts know no registry. skopeo does the talking."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skerry.errors import BadInput, Passing, Refusal
from skerry.image.contract import BadImage, ImageNotFound
from skerry.image.oci import DIGEST

if TYPE_CHECKING:
    from skerry.client.images import LocalImages

INSPECT_WITHIN_S = 60.0
COPY_WITHIN_S = 1800.0
_REFERENCE = re.compile(r"[a-z0-9][a-zA-Z0-9._/:-]{0,250}(?:@sha256:[0-9a-f]{64})?\Z")


class NoSkopeo(Refusal):
    """Pulling from a registry is skopeo's work, and it isn't installed."""

    code = "no-skopeo"


class PullFailed(Passing):
    """The registry could not be reached, or refused, in skopeo's words."""

    code = "pull-failed"


def pull(
    images: LocalImages, reference: str, name: str, *, plain_http: bool, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Bring the image that `reference` names into the local store. A tag is resolved to a digest first, which is said: only
    what has this digest is taken. Raises BadInput, NoSkopeo, PullFailed, BadImage.
    """
    reference = reference.removeprefix("docker://")
    if not _REFERENCE.match(reference):
        raise BadInput(f"{reference[:100]!r} can't be pulled", "it is not HOST/NAME:TAG or HOST/NAME@sha256:…")
    if not shutil.which("skopeo"):
        raise NoSkopeo(
            "nothing was pulled", "skopeo is not installed", "apt-get install skopeo; or save the image and import it"
        )
    repository, _, digest = reference.partition("@")
    if not digest:
        digest = _resolve(reference, plain_http)
        progress(f"{reference} is {digest}: write it as {_without_tag(repository)}@{digest} to get the same again")
    pinned = f"{_without_tag(repository)}@{digest}"
    with tempfile.TemporaryDirectory(prefix="skerry-pull-") as folder:
        layout = Path(folder) / "layout"
        words = ["copy", "--quiet", "--override-os=linux", "--override-arch=amd64"]
        words += ["--src-tls-verify=false"] if plain_http else []
        _skopeo([*words, f"docker://{pinned}", f"oci:{layout}:pulled"], pinned, COPY_WITHIN_S)
        try:
            imported = images.bring(layout, name, "pulled", pinned)
        except ImageNotFound as error:
            raise BadImage(f"{pinned} can't be imported", error.why) from error
    return {"image": name, "digest": imported.digest, "pulled": pinned, "findings": list(imported.findings)}


def _resolve(reference: str, plain_http: bool) -> str:
    words = ["inspect", "--no-tags", "--override-os=linux", "--override-arch=amd64"]
    words += ["--tls-verify=false"] if plain_http else []
    said = _skopeo([*words, f"docker://{reference}"], reference, INSPECT_WITHIN_S)
    try:
        digest = str(json.loads(said)["Digest"])
    except (ValueError, KeyError, TypeError, RecursionError):
        digest = ""
    if not DIGEST.match(digest):
        raise PullFailed(f"{reference} was not pulled", "the registry did not say its digest", "give it: NAME@sha256:…")
    return digest


def _skopeo(words: list[str], what: str, within_s: float) -> str:
    # Whose signature an image bears is not asked here: its digest says which it is, and the operator signs the release.
    command = ["skopeo", "--insecure-policy", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=within_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise PullFailed(f"{what} was not pulled", f"skopeo was not done in {within_s:.0f} s", "try again") from error
    if done.returncode:
        said = re.search(r'msg="(.*?)"(?:\s|\Z)', done.stderr)
        words_ = (said[1].replace('\\"', '"') if said else done.stderr.strip())[-500:]
        fix = "check the name and the registry; one without TLS needs --plain-http"
        raise PullFailed(f"{what} was not pulled", f"skopeo says: {words_}", fix)
    return done.stdout


def _without_tag(repository: str) -> str:
    """ "host:5000/app:1" -> "host:5000/app"."""
    head, slash, last = repository.rpartition("/")
    return head + slash + last.partition(":")[0]

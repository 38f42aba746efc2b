"""The example of the API as an app: what it is built of is what everything else is built of. tests/e2e/test_api_app.py deploys it."""

from __future__ import annotations

import re
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from api.serving import Served
from checkout import ROOT
from skerry.api.serve import from_environment
from skerry.client.home import CloudExists, Home
from skerry.client.identity import write_key_pair
from skerry.client.recovery import export_public

EXAMPLE = ROOT / "examples" / "api" / "app" / "requirements.txt"
# The agent's, what builds images of Debian packages, and the screen of `skerry top`.
NOT_TO_SERVE = {"dnslib", "pysequoia", "textual", "mdit-py-plugins", "platformdirs"}


def locked(path: Path) -> dict[str, str]:
    """Name -> its block, with version and hashes."""
    blocks = re.split(r"(?m)^(?=[a-z0-9-]+==)", path.read_text())
    return {block.partition("==")[0]: "".join(re.findall(r"[0-9a-f]{64}|==\S+", block)) for block in blocks[1:]}


def closure(name: str, extra: str, found: set[str]) -> set[str]:
    for text in requires(name) or []:
        wanted = Requirement(text)
        key = re.sub(r"[-_.]+", "-", wanted.name).lower()
        if (wanted.marker is None or wanted.marker.evaluate({"extra": extra})) and key not in found:
            found.add(key)
            closure(key, "", found)
    return found


def test_it_is_locked_as_everything_else_is() -> None:
    ours, all_of_them = locked(EXAMPLE), locked(ROOT / "requirements.txt")
    assert set(ours) == closure("skerry", "api", set()) - NOT_TO_SERVE
    assert ours == {name: all_of_them[name] for name in ours}, "take the blocks of requirements.txt"


def test_a_volume_that_it_had_before_is_taken_up_again_with_the_key_of_now(served: Served, tmp_path: Path) -> None:
    export_public(Home(served.home).cloud("small"), tmp_path / "cloud.json")
    environ = {
        "SKERRY_API_CLOUD": (tmp_path / "cloud.json").read_text(),
        "SKERRY_API_TOKENS": "{}",
        "SKERRY_PASSPHRASE": "",
    }
    data = Home(tmp_path / "data")
    for key in ("first", "second"):
        write_key_pair(tmp_path / key, tmp_path / f"{key}.pub", "api", "")
        from_environment({**environ, "SKERRY_API_KEY": (tmp_path / key).read_text()}, data)
        (data.cloud("small").path / "ledger").touch()
        assert data.cloud("small").read_key("operator", lambda what: "") == (tmp_path / key).read_bytes()
    assert (data.cloud("small").path / "ledger").exists()
    other = environ["SKERRY_API_CLOUD"].replace(data.cloud("small").read().id, "0" * 64)
    with pytest.raises(CloudExists):
        from_environment({**environ, "SKERRY_API_KEY": (tmp_path / key).read_text(), "SKERRY_API_CLOUD": other}, data)

"""The synchronous client is the asynchronous one. `REWRITE=1 pytest tests/sdk` makes it anew."""

from __future__ import annotations

import os

from sdk.synchronous import FOLDER, made


def test_the_synchronous_client_is_made_from_the_asynchronous_one() -> None:
    for name, wanted in made().items():
        path = FOLDER / name
        if os.environ.get("REWRITE"):
            path.write_text(wanted)
        assert path.read_text() == wanted, "REWRITE=1 pytest tests/sdk/test_synchronous.py"

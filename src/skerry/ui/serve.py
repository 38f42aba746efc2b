"""Serving the pages: on loopback, under one port, until it is told to end; and leading a browser there.

The link with the token goes to the terminal. A browser is handed a file of this user instead, which leads on to it: what a
program is started with, every user of the machine can read.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import os
import secrets
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from skerry.api.ledger import Ledger
from skerry.api.serve import GRACE_S, Listen, listening, until_told
from skerry.sdk import AsyncClient
from skerry.ui.access import Access
from skerry.ui.server import Ui

HEADER_BYTES = 32 << 10
SOCKET_BYTES = 256 << 10  # one message of a websocket: what is pasted into a terminal


def serve(cloud: AsyncClient, port: int, *, ready: Callable[[str], None], opened: bool) -> None:
    """Until SIGINT or SIGTERM. `port` 0: any that is free. `ready` gets the link.

    Raises CantListen, and what opening a cloud raises.
    """
    import uvicorn

    with listening(Listen("127.0.0.1", port)) as socket, tempfile.TemporaryDirectory(prefix="skerry-ui-") as folder:
        port = socket.getsockname()[1]
        access = Access(port)
        link = f"http://127.0.0.1:{port}/#enter={access.token}"
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        try:
            server = uvicorn.Server(config(Ui(cloud, access, ledger).app()))
            with leading_to(link) if opened else contextlib.nullcontext() as page:
                ready(link)
                if page is not None:
                    threading.Thread(
                        target=webbrowser.open, args=(page.as_uri(),), daemon=True
                    ).start()  # some wait for their end
                asyncio.run(until_told(cloud, server, socket))
        finally:
            ledger.close()


def config(app: Any) -> Any:
    import uvicorn

    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        http="h11",
        ws="websockets-sansio",
        ws_max_size=SOCKET_BYTES,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=30,
        limit_concurrency=256,
        h11_max_incomplete_event_size=HEADER_BYTES,
        proxy_headers=False,
    )


@contextlib.contextmanager
def leading_to(link: str) -> Iterator[Path]:
    """A page that only this user can read, and that leads to the link; gone at the end."""
    folder = os.environ.get("XDG_RUNTIME_DIR", "")
    place = Path(folder) if folder and Path(folder).is_dir() else Path(tempfile.gettempdir())
    path = place / f"skerry-ui-{secrets.token_hex(8)}.html"
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(
            '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>Skerry</title>'
            f'<meta http-equiv="refresh" content="0; url={html.escape(link)}"><a href="{html.escape(link)}">Skerry</a>\n'
        )
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)

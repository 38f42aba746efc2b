"""Real receivers of alerts: an HTTP server and a mail server, which keep what they got."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hook:
    """`status`: what it answers from now on."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []  # (path, headers, body)
        self.status = 200
        self.url = ""

    def messages(self, state: str = "", rule: str = "") -> list[dict[str, Any]]:
        bodies = [json.loads(body) for _, _, body in list(self.got) if body]
        return [m for m in bodies if state in ("", m.get("state")) and rule in ("", m.get("rule"))]


@contextmanager
def hook(address: str = "127.0.0.1") -> Iterator[Hook]:
    kept = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            kept.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            said = b"thank you\nsecond line\n"
            self.send_response(kept.status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST

        def log_message(self, *args: Any) -> None:
            pass

    with _serving(ThreadingHTTPServer((address, 0), Handler)) as port:
        kept.url = f"http://{address}:{port}"
        yield kept


class Mailbox:
    def __init__(self) -> None:
        self.mails: list[str] = []
        self.server = ""
        self.refuses = ""  # an answer to RCPT


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    """As much of SMTP (RFC 5321) as a sender needs, without TLS."""
    kept = Mailbox()

    class Handler(socketserver.StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self) -> None:
            self.say("220 mailbox")
            while line := self.rfile.readline().decode().strip():
                verb = line.split(" ")[0].upper()
                if verb == "DATA":
                    self.say("354 go on")
                    lines = []
                    while (row := self.rfile.readline()) not in (b".\r\n", b""):
                        lines.append(row)
                    kept.mails.append(b"".join(lines).decode())
                    self.say("250 kept as 42")
                elif verb == "QUIT":
                    self.say("221 bye")
                    return
                elif verb == "RCPT" and kept.refuses:
                    self.say(kept.refuses)
                else:
                    self.say("250 fine")

    with _serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as port:
        kept.server = f"127.0.0.1:{port}"
        yield kept


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]  # type: ignore[misc,index]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

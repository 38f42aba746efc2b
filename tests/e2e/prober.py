"""An application that tries what it is told, for test_isolated.py: its image holds Python and nothing else. Stdlib alone."""

from __future__ import annotations

import contextlib
import http.server
import socket
import sys
from collections.abc import Callable

KEPT: dict[str, socket.socket] = {}
WITHIN_S = 3.0


def tcp(to: str, port: int) -> str:
    with socket.create_connection((to, port), WITHIN_S):
        return "open"


def udp(to: str, port: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(1.0)
        asking.connect((to, port))
        asking.send(b"?")
        return f"answered {len(asking.recv(100))}"


def name(of: str) -> str:
    try:
        return " ".join(sorted(socket.gethostbyname_ex(of)[2]))
    except socket.gaierror:
        return "no such name"


def keep(to: str, port: int) -> str:
    """A connection that stays, to a Redis."""
    KEPT[to] = socket.create_connection((to, port), WITHIN_S)
    return say(to)


def say(to: str) -> str:
    KEPT[to].sendall(b"PING\r\n")
    return KEPT[to].recv(100).decode().strip()


ACTS: dict[str, Callable[..., str]] = {"tcp": tcp, "udp": udp, "name": name, "keep": keep, "say": say}


class Asked(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        act, _, rest = self.path.strip("/").partition("/")
        told = rest.split("/") if rest else []
        try:
            answer = ACTS[act](told[0], *map(int, told[1:])) if told else "ready"
        except (OSError, KeyError) as error:
            with contextlib.suppress(AttributeError):
                answer = f"{type(error).__name__} {error.errno}"  # type: ignore[union-attr]
        data = answer.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Asked).serve_forever()

"""An application that does what it is told, so that a test can see what a compose file's words do to a real container.

By its environment at the start: CRASH=7 writes a line and ends with 7, DONE=1 ends well, SICK=1 answers its health with 500,
SLOW=4 takes so many seconds to begin, DIES=3 is well for so many and ends with 7. By requests later: see `do_GET`.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

VERSION = os.environ.get("VERSION", "1")
started = time.time()
hoard: list[bytearray] = []


def eat(mib: int) -> None:
    for _ in range(mib):
        block = bytearray(1 << 20)
        block[::4096] = b"x" * len(block[::4096])
        hoard.append(block)


def about() -> dict[str, object]:
    return {
        "version": VERSION,
        "environment": dict(os.environ),
        "arguments": sys.argv[1:],
        "uid": os.getuid(),
        "gid": os.getgid(),
        "hostname": socket.gethostname(),
        "directory": str(Path.cwd()),
        "pid": os.getpid(),
        "started": started,
        "capabilities": next(
            line.split()[1] for line in open("/proc/self/status").read().splitlines() if line.startswith("CapEff")
        ),
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        what, _, word = self.path.lstrip("/").partition("/")
        try:
            answer = getattr(self, f"do_{what or 'entries'}")(word)
        except OSError as error:
            self.answer(409, f"{type(error).__name__}: {error}")
        else:
            self.answer(*(answer if isinstance(answer, tuple) else (200, answer)))

    def do_entries(self, word: str) -> object:
        return about()

    def do_healthz(self, word: str) -> object:
        if not os.environ.get("SICK"):
            return "well"
        print("\x1b[31mthe reason of the sickness\x1b[0m", flush=True)
        return (500, "I am sick")

    def do_exit(self, word: str) -> object:
        print(f"told to end with {word}", flush=True)
        threading.Timer(0.05, os._exit, [int(word)]).start()
        return "soon"

    def do_eat(self, word: str) -> object:
        threading.Thread(target=eat, args=[int(word)]).start()
        return "soon"

    def do_burn(self, word: str) -> object:
        until = time.monotonic() + float(word)

        def burn() -> None:
            while time.monotonic() < until:
                pass

        threading.Thread(target=burn).start()
        return "soon"

    def do_say(self, word: str) -> object:
        print(word, flush=True)
        return "said"

    def do_resolve(self, word: str) -> object:
        return sorted({info[4][0] for info in socket.getaddrinfo(word, 80, socket.AF_INET)})

    def do_connect(self, word: str) -> object:
        host, port = word.split(":")
        socket.create_connection((host, int(port)), 2).close()
        return "connected"

    def do_write(self, word: str) -> object:
        with open("/" + word, "a") as file:
            file.write("x")
        return Path("/", word).stat().st_size

    def do_execute(self, word: str) -> object:
        os.execv("/" + word, [word])

    def answer(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Version", VERSION)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


def on_signal(number: int, frame: object) -> None:
    print(f"got {signal.Signals(number).name}", flush=True)
    if not os.environ.get("STUBBORN"):
        sys.exit(0)


print(f"puppet {VERSION} begins", flush=True)
if os.environ.get("CRASH"):
    print("the reason of the crash", file=sys.stderr, flush=True)
    sys.exit(int(os.environ["CRASH"]))
if os.environ.get("DIES"):

    def die() -> None:
        print("the reason of the death", file=sys.stderr, flush=True)
        os._exit(7)

    threading.Timer(float(os.environ["DIES"]), die).start()
if os.environ.get("DONE"):
    print("the work is done", flush=True)
    sys.exit(0)
time.sleep(float(os.environ.get("SLOW", "0")))
for each in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
    signal.signal(each, on_signal)
ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("PORT", "8000"))), Handler).serve_forever()

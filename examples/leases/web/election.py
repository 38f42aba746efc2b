"""Three replicas, one of which leads. Every page says who, and under which number; the leader counts up once a second."""

import http.server
import os
import socket
import threading
import time

from leases import LeaseError, Leases

STATE = {"leads": False, "number": 0, "count": 0}


def lead() -> None:
    """For ever: stand for election, lead for as long as the lease is good, and begin anew."""
    while True:
        try:
            leases = Leases()
            while True:
                if (held := leases.acquire("leader", wait_s=30)) is None:
                    continue
                STATE.update(leads=True, number=held.number)
                while held.is_good and leases.renew(held):
                    STATE["count"] += 1
                    time.sleep(1)
                STATE["leads"] = False
        except (OSError, LeaseError) as error:
            STATE["leads"] = False  # who can't ask can't know that it still leads
            print(f"no election: {error}", flush=True)
            time.sleep(1)


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        said = f"leads with number {STATE['number']}, counted to {STATE['count']}" if STATE["leads"] else "follows"
        data = f"{socket.gethostname()} {said}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    threading.Thread(target=lead, daemon=True).start()
    http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("PORT", "8000"))), Page).serve_forever()

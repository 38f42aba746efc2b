"""A small web server. How it answers /healthz is said by its environment: HEALTH (a status), SLEEP (seconds), PORT, BIND."""

import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STATUS, SLEEP_S = int(os.environ.get("HEALTH", "200")), float(os.environ.get("SLEEP", "0"))


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def do_GET(self):
        time.sleep(SLEEP_S)
        body = b"well\n" if STATUS < 400 else b"the database is not migrated\n"
        self.send_response(STATUS)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


address = os.environ.get("BIND", "0.0.0.0"), int(os.environ.get("PORT", "8000"))
print(f"listening on {address[0]}:{address[1]}", flush=True)
ThreadingHTTPServer(address, Answer).serve_forever()

"""A page that asks another service for its prices before it answers."""

import os
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            with urllib.request.urlopen(os.environ["PRICES"], timeout=30) as answer:
                body = answer.read()
            self.send_response(200)
        except OSError as error:
            body = f"no prices: {error}\n".encode()
            print(body.decode(), end="", flush=True)
            self.send_response(502)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


print("listening on 0.0.0.0:8000", flush=True)
ThreadingHTTPServer(("0.0.0.0", 8000), Answer).serve_forever()

"""Two locks, taken in two orders: after a while each thread waits for the other."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

stock, ledger = threading.Lock(), threading.Lock()


def sell():
    time.sleep(8)
    with stock:
        time.sleep(1)
        with ledger:
            pass


def audit():
    time.sleep(8)
    with ledger:
        time.sleep(1)
        with stock:
            pass


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        with stock:
            self.send_response(200)
            self.end_headers()


threading.Thread(target=sell, name="sell").start()
threading.Thread(target=audit, name="audit").start()
print("listening on 0.0.0.0:8000", flush=True)
ThreadingHTTPServer(("0.0.0.0", 8000), Answer).serve_forever()

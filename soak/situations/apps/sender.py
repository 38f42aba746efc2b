"""Sends the whole catalogue again whenever somebody asks what is new."""

import os
import socket
import time

host, _, port = os.environ["TO"].partition(":")
page = bytes(1 << 16)
print(f"sending to {host}", flush=True)
while True:
    try:
        with socket.create_connection((host, int(port)), timeout=5) as there:
            while True:
                there.sendall(page)
                time.sleep(0.01)
    except OSError:
        time.sleep(1)

"""Reads where its store is from its environment."""

import os
import time

host, port = os.environ["STORE"].rsplit(":", 1)
print(f"store at {host}, port {int(port)}", flush=True)
time.sleep(3600)

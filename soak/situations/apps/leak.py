"""Remembers everything that it was ever asked."""

import time

seen = []
print("ready", flush=True)
while True:
    seen.append(bytes([len(seen) % 256]) * (1 << 20))
    time.sleep(0.25)

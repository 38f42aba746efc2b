"""Keeps every picture that it has ever made smaller."""

import time
from pathlib import Path

for n in range(100_000):
    try:
        Path(f"/tmp/thumbnail-{n:05}.jpg").write_bytes(bytes(8 << 20))
    except OSError as error:
        print(f"thumbnail {n}: {error}", flush=True)
        time.sleep(1)

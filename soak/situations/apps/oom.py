"""Loads a report that is larger than what it may use."""

import time

print("loading the report", flush=True)
time.sleep(2)
report = [bytes([1]) * (1 << 20) for _ in range(400)]
print(f"loaded {len(report)} MiB", flush=True)
time.sleep(3600)

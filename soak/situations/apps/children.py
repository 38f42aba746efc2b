"""Starts a helper for each job and never asks how it ended."""

import subprocess
import sys
import time

jobs = []
print("taking jobs", flush=True)
while True:
    if len(jobs) < 6:
        jobs.append(subprocess.Popen([sys.executable, "-c", "pass"]))
    time.sleep(0.5)

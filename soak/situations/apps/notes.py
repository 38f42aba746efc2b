"""Keeps notes in /data, for itself alone."""

import os
import time
from pathlib import Path

notes = Path("/data/notes.txt")
print(f"writing as user {os.getuid()}", flush=True)
while True:
    try:
        with notes.open("a") as file:
            file.write("a note\n")
        notes.chmod(0o600)
    except OSError as error:
        print(f"no note: {error}", flush=True)
    time.sleep(1)

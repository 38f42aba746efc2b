"""Opens a file for each customer and closes none."""

import time

held = []
print("ready", flush=True)
while True:
    try:
        held.append(open("/proc/self/status"))  # noqa: SIM115
    except OSError as error:
        print(f"customer {len(held)}: {error}", flush=True)
        time.sleep(2)

"""How late this machine runs what is due: what a bound on a time may be longer by."""

from __future__ import annotations

import threading
import time

STEP_S = 0.02


class Late:
    """Measures from its making on; `most_s` is the longest that a thread of ours was kept waiting."""

    def __init__(self) -> None:
        self.most_s = 0.0
        threading.Thread(target=self._measure, daemon=True).start()

    def _measure(self) -> None:
        while True:
            begun_s = time.monotonic()
            time.sleep(STEP_S)
            self.most_s = max(self.most_s, time.monotonic() - begun_s - STEP_S)

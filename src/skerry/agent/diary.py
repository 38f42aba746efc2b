"""What the agent says, kept as containers' logs are: `skerry logs HOST` reads it on any host, with a journal or without.

One file and the one before it, in the same format as a container's, so that the same readers serve.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
from collections.abc import Iterator
from pathlib import Path

from skerry.observe.logs import stamp

KEPT_BYTES = 2 << 20  # of each of the two files


@contextlib.contextmanager
def kept(path: Path) -> Iterator[None]:
    """This process's log goes to `path`, too, and in the end what it ends by. A disk that takes nothing is no reason to stop."""
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=KEPT_BYTES, backupCount=1, encoding="utf-8", delay=True
    )
    handler.setFormatter(_Lines())
    logging.getLogger().addHandler(handler)
    try:
        yield
    except Exception:
        logging.getLogger(__name__).exception("the agent ends")
        raise


class _Lines(logging.Formatter):
    """CRI lines: a traceback is several of one time."""

    def format(self, record: logging.LogRecord) -> str:
        time = stamp(record.created)
        told = super().format(record).splitlines() or [""]
        first, *more = told
        lines = [f"{record.levelname.lower()} {record.name}: {first}", *more]
        return "\n".join(f"{time} stderr F {line}" for line in lines)

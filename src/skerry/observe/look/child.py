"""The child of the agent that looks into a container: one question (a Job, its first argument), one answer on standard output.

A process of its own: what a hostile container makes it read can hang it, fill its memory or find a bug in it, and the agent
goes on. It keeps only those of root's capabilities that the question needs, may not get others back, and has little memory.
Run as `python -I -m skerry.observe.look.child JOB`.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import msgspec

from skerry.errors import SkerryError
from skerry.observe.look import confine
from skerry.observe.look.content import Tree, cat, rows_of
from skerry.observe.look.job import DATA, ERROR, PIECE_BYTES, ROWS, SUMMARY, Job, frame
from skerry.observe.look.listing import ls


def write(channel: bytes, payload: bytes) -> None:
    view = memoryview(frame(channel, payload))
    while view:
        view = view[os.write(1, view) :]


def send(data: bytes) -> None:
    for at in range(0, len(data), PIECE_BYTES):
        write(DATA, data[at : at + PIECE_BYTES])


def send_rows(rows: list[dict[str, Any]]) -> None:
    """Rows with long names may be too long for one frame together."""
    encoded = msgspec.json.encode(rows)
    if len(encoded) <= PIECE_BYTES or len(rows) == 1:
        write(ROWS, encoded)
        return
    send_rows(rows[: len(rows) // 2])
    send_rows(rows[len(rows) // 2 :])


def answer(job: Job) -> dict[str, Any]:
    if job.what == "ls":
        return rows_of(ls(job), send_rows)
    if job.what == "cat":
        return cat(job, send)
    if job.what == "tree":
        return Tree(job, send).write()
    if job.what == "procs":
        from skerry.observe.look.procfs import procs

        return rows_of(procs(job), send_rows)
    if job.what == "sockets":
        from skerry.observe.look.sockets import sockets

        return rows_of(sockets(job), send_rows)
    if job.what == "keep":
        from skerry.observe.look.keeping import Keeping

        return Keeping(job).keep()
    if job.what == "would":
        from skerry.observe.look.placing import would

        return rows_of(would(job), send_rows)
    if job.what == "put":
        from skerry.observe.look.placing import put

        return put(job)
    if job.what == "files":
        from skerry.observe.look.changes import files

        return rows_of(files(job), send_rows)
    if job.what == "capture":
        from skerry.observe.look.capture import capture

        return capture(job, send, send_rows)
    if job.what == "samples":
        from skerry.observe.look.samples import samples

        return samples(job, send, send_rows)
    raise AssertionError(job.what)


def main() -> None:
    job = msgspec.json.decode(sys.argv[1].encode(), type=Job)
    confine.confine(job.what)
    try:
        summary = answer(job)
    except SkerryError as error:
        write(ERROR, msgspec.json.encode(error.as_dict() | {"exit_code": error.exit_code}))
    except BrokenPipeError:
        pass  # nobody wants to know any more
    else:
        write(SUMMARY, msgspec.json.encode(summary))


if __name__ == "__main__":
    main()

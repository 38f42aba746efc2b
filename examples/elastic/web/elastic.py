"""A page that takes a moment to make, over connections that stay open: what the load of a web application looks like."""

from __future__ import annotations

import asyncio
import os
import signal

VERSION = os.environ.get("VERSION", "elastic 1")
WORK_S = float(os.environ.get("WORK_S", "0.02"))
BODY = b"made for you\n"
ANSWER = (
    f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Version: {VERSION}\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
    + BODY
)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            await asyncio.sleep(WORK_S)
            writer.write(ANSWER)
            await writer.drain()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "0.0.0.0", 8000)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    server.close()


asyncio.run(main())

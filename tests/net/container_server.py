"""The application of a test's container:

tells its name and who asked (TCP 80), echoes (TCP 81), tells its name (UDP 82).
"""

from __future__ import annotations

import asyncio
import sys


async def main(name: str) -> None:
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            body = f"{name} {writer.get_extra_info('peername')[0]}".encode()
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(name.encode() + b" " + data)
        writer.close()

    class Name(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            self.transport.sendto(name.encode(), addr)  # type: ignore[attr-defined]

    await asyncio.start_server(web, "0.0.0.0", 80, backlog=500)
    await asyncio.start_server(echo, "0.0.0.0", 81)
    await asyncio.get_running_loop().create_datagram_endpoint(Name, local_addr=("0.0.0.0", 82))
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

"""One mesh node as a process of its own, for tests that kill, stop or cut it. Prints what happens as JSON lines.

Arguments: a JSON object: name, directory, host, port, certificate (hex), key (PEM), peers {name: [certificate, address]}.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from skerry.mesh.links import Mesh, PeerAddress


def say(**what):
    print(json.dumps({"at_s": time.monotonic(), **what}), flush=True)


async def main(given):
    mesh = Mesh(
        given["name"],
        bytes.fromhex(given["certificate"]),
        given["key"].encode(),
        Path(given["directory"]),
        on_link=lambda peer, up, why, goodbye: say(peer=peer, up=up, why=why, goodbye=goodbye),
        on_frame=lambda peer, data: None,
        handlers={},
    )
    await mesh.serve(given["host"], given["port"])
    mesh.set_peers(
        {name: PeerAddress(bytes.fromhex(der), (address,), True) for name, (der, address) in given["peers"].items()}
    )
    say(serving=True)
    await asyncio.Event().wait()


asyncio.run(main(json.loads(sys.argv[1])))

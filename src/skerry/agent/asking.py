"""Asking a provider from a host: in a child process, so that no HTTP library stays in the agent's memory, nor blocks it.

Run as a program it reads one question on standard input and prints the answer.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec

from skerry.core.intent import Pool
from skerry.errors import Passing, SkerryError
from skerry.machines.contract import ProviderSilent, Server
from skerry.machines.providers import open_provider

LIMIT_S = 30.0


class Question(msgspec.Struct, frozen=True):
    provider: str
    token: str
    endpoint: str
    options: dict[str, str]
    name: str


async def servers(pool: Pool, token: str, name: str) -> list[Server]:
    """The machines of this name. Raises ProviderSilent."""
    question = Question(pool.provider, token, pool.endpoint, pool.options, name)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-m", "skerry.agent.asking",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(LIMIT_S):
            out, err = await child.communicate(msgspec.json.encode(question))
    except TimeoutError:
        child.kill()
        await child.wait()
        raise ProviderSilent(f"{pool.provider} did not say what {name} is", f"no answer in {LIMIT_S:.0f} s") from None
    if child.returncode:
        why = err.decode(errors="replace").strip()[-300:]
        raise ProviderSilent(f"{pool.provider} did not say what {name} is", why, "it is asked again")
    return msgspec.json.decode(out, type=list[Server])


def main() -> int:
    asked = msgspec.json.decode(sys.stdin.buffer.read(1 << 20), type=Question)
    try:
        provider = open_provider(asked.provider, token=asked.token, endpoint=asked.endpoint, options=asked.options)
        sys.stdout.buffer.write(msgspec.json.encode(provider.list(name=asked.name)))
    except SkerryError as error:
        print(error, file=sys.stderr)
        return 1 if isinstance(error, Passing) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

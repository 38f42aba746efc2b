"""The door to nftables: text in, committed at once or not at all.

What the text says is the affair of `ports` and `foreign`.

libnftables is asked in this process: 0.3 ms for a replace of our table against 16 ms with the tool `nft`, which waits
at its end for the kernel to free what was replaced. Where the library isn't found the tool is run.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
from typing import Any

import msgspec

from skerry.net.commands import CommandFailed, run_now
from skerry.net.netlink import NETFILTER, Netlink
from skerry.outside import UNREADABLE

_JSON = 1 << 4  # NFT_CTX_OUTPUT_JSON
_HANDLE = 1 << 3  # NFT_CTX_OUTPUT_HANDLE
_GET_GENERATION = 10 << 8 | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
_GENERATION_ID = 1  # NFTA_GEN_ID
_ANY_FAMILY = bytes(4)  # struct nfgenmsg


class Nft:
    """Belongs to the network namespace of the thread that makes it. Safe to use from several threads."""

    def __init__(self, binary: str = "nft", *, library: str = "libnftables.so.1") -> None:
        self._binary = binary
        self._lock = threading.Lock()
        self._library: Any = None
        try:
            found = ctypes.CDLL(library)
            found.nft_ctx_new.restype = ctypes.c_void_p
            found.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
            found.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
            context = found.nft_ctx_new(0)
            if not context:
                return
            self._context = ctypes.c_void_p(context)
            found.nft_ctx_buffer_error(self._context)
            found.nft_ctx_buffer_output(self._context)
            self._library = found
        except (OSError, AttributeError):
            self._library = None

    @property
    def in_process(self) -> bool:
        return self._library is not None

    async def run(self, text: str) -> None:
        """One transaction. Raises CommandFailed; then nothing of it was done."""
        await asyncio.to_thread(self.run_now, text)

    def run_now(self, text: str) -> None:
        if self._library is None:
            run_now([self._binary, "-f", "-"], text)
        else:
            self._ask(text, 0)

    async def listed(self, what: str) -> list[dict[str, Any]]:
        """`what`: as after `nft list`; its JSON objects, handles included.

        Raises CommandFailed (also if it isn't there).
        """
        return await asyncio.to_thread(self.listed_now, what)

    def listed_now(self, what: str) -> list[dict[str, Any]]:
        if self._library is None:
            text = run_now([self._binary, "-j", "-a", "list", *what.split()])
        else:
            text = self._ask(f"list {what}\n", _JSON | _HANDLE)
        try:
            found = msgspec.json.decode(text)["nftables"] if text.strip() else []
        except (KeyError, TypeError, *UNREADABLE):
            raise CommandFailed([self._binary, "list", *what.split()], "its answer is not JSON") from None
        return [entry for entry in found if isinstance(entry, dict)]

    def has(self, what: str) -> bool:
        """Whether `list` finds it."""
        try:
            self.listed_now(what)
        except CommandFailed:
            return False
        return True

    def generation(self) -> int:
        """Of this namespace's rules, whosever they are: another number after each change, and asked in some 20 µs."""
        with Netlink(NETFILTER) as kernel:
            return int.from_bytes(kernel.get("generation of the rules", _GET_GENERATION, _ANY_FAMILY, _GENERATION_ID))

    def close(self) -> None:
        """The kernel may take some 15 ms over it: it frees what was replaced."""
        if self._library is not None:
            with self._lock:
                self._library.nft_ctx_free(self._context)
                self._library = None

    def _ask(self, text: str, flags: int) -> str:
        with self._lock:
            self._library.nft_ctx_output_set_flags(self._context, ctypes.c_uint(flags))
            failed = self._library.nft_run_cmd_from_buffer(self._context, text.encode())
            error = (self._library.nft_ctx_get_error_buffer(self._context) or b"").decode(errors="replace")
            output: str = (self._library.nft_ctx_get_output_buffer(self._context) or b"").decode(errors="replace")
        if failed:
            raise CommandFailed([self._binary, "-f", "-"], error)
        return output

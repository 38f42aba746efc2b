"""What may go wrong on purpose: which requests it hits, how often, and how."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

KINDS = ("status", "cut-before", "cut-after", "hang", "hang-after", "vanish", "stuck", "clock", "garbage")


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Hits the next `times` requests after `skip` others that have this method and whose path begins with `path`.

    `status`: answer with `status` (and `retry_after_s`) and do nothing. `cut-before`, `hang`: nothing was done; `cut-after`,
    `hang-after`: it was. `vanish`: a create is answered 202 and there is no droplet. `stuck`: it stays `new` for ever. `clock`: its
    `created_at` is wrong by `clock_s`. `garbage`: 200 and `body`.
    """

    kind: Literal["status", "cut-before", "cut-after", "hang", "hang-after", "vanish", "stuck", "clock", "garbage"]
    method: str = ""
    path: str = "/"
    times: Annotated[int, msgspec.Meta(ge=1)] = 1
    skip: Annotated[int, msgspec.Meta(ge=0)] = 0
    status: int = 503
    retry_after_s: int | None = None
    clock_s: float = 0.0
    body: str = "<html>"

    def hits(self, method: str, path: str) -> bool:
        if (self.method and method != self.method) or not path.startswith(self.path):
            return False
        if self.kind in ("vanish", "stuck", "clock") and (method, path) != ("POST", "/v2/droplets"):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class Broken(Exception):
    """The connection ends without an answer (`hang`: after a long silence). `done`: the request was carried out."""

    def __init__(self, *, hang: bool, done: bool) -> None:
        super().__init__("the answer is lost")
        self.hang = hang
        self.done = done

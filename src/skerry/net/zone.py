"""Answers to questions about names: bytes in, bytes out, or "not ours". Pure; the sockets are in `names`.

Ours is all below `internal.`: A records of healthy replicas, TTL 1 s. Questions come from containers: any bytes may
come.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address

from dnslib import QTYPE, RCODE, RR, A, DNSBuffer, DNSHeader, DNSRecord

from skerry.errors import BadFormat
from skerry.net.apart import Askers

TOP = "internal"
TTL_S = 1
MOST_ADDRESSES = 20  # of one answer: fits 512 bytes with the longest name
MOST_BYTES = 1232  # of a question; real ones have far less


def parse(data: bytes) -> DNSRecord:
    """A question with exactly one name. Raises BadFormat."""
    if not 12 <= len(data) <= MOST_BYTES:
        raise BadFormat("not a DNS question", f"{len(data)} bytes")
    try:
        question = DNSRecord.parse(data)
        name = str(question.q.qname).encode("ascii")
        question.q.pack(DNSBuffer())  # it reads labels that it can't write, and each answer repeats the question
    except Exception as e:  # the parser's own errors are not all of one kind
        raise BadFormat("not a DNS question", str(e)[:200]) from None
    header = question.header
    if header.qr or header.opcode or header.q != 1 or len(question.questions) != 1 or len(name) > 1000:
        raise BadFormat("not a DNS question", "it must ask for one name")
    return question


class Zone:
    """The names that are known.

    `ready` is False until they were set: then nobody should be told that a name doesn't exist.
    """

    def __init__(self) -> None:
        self._names: dict[str, tuple[str, ...]] = {}
        self._askers: Askers | None = None
        self._turn = 0
        self.ready = False

    def set(self, names: Mapping[str, Sequence[str]], askers: Askers | None = None) -> None:
        """Fully qualified names -> IPv4 addresses; these come from other hosts' facts: what isn't one is passed over.

        `askers`: who may know which; None: everybody all.
        """
        self._names = {name.lower().rstrip("."): _ipv4(addresses) for name, addresses in names.items()}
        self._askers = askers
        self.ready = True

    def answer(self, question: DNSRecord, source: str = "") -> bytes | None:
        """The reply, or None if the name isn't ours (ask the host's own servers). `source`: the asker's address.

        A name that the asker may not reach doesn't exist for it.
        """
        name = str(question.q.qname).lower().rstrip(".")
        if name != TOP and not name.endswith("." + TOP):
            return None
        if not self.ready:
            return refusal(question, RCODE.SERVFAIL)  # the resolver goes on to the next server
        askers = self._askers
        try:
            who = askers.who(source) if askers is not None else None
        except KeyError:
            return refusal(question, RCODE.SERVFAIL)  # nobody we know yet: its own host knows it
        if name not in self._names or (askers is not None and who is not None and not askers.sees(who, name)):
            return refusal(question, RCODE.NXDOMAIN)
        reply = _reply(question)
        if question.q.qtype in (QTYPE.A, QTYPE.ANY):
            addresses = self._names[name]
            if askers is not None and who is not None:
                addresses = tuple(address for address in addresses if askers.may_call(who, address))
            self._turn += 1
            start = self._turn % len(addresses) if addresses else 0
            for address in (addresses[start:] + addresses[:start])[:MOST_ADDRESSES]:
                reply.add_answer(RR(question.q.qname, QTYPE.A, ttl=TTL_S, rdata=A(address)))
        return bytes(reply.pack())


def _ipv4(addresses: Sequence[str]) -> tuple[str, ...]:
    found = []
    for text in addresses:
        with contextlib.suppress(ValueError):
            found.append(str(IPv4Address(text)))
    return tuple(found)


def refusal(question: DNSRecord, code: int) -> bytes:
    """A reply without an answer: NXDOMAIN, SERVFAIL."""
    reply = _reply(question)
    reply.header.rcode = code
    return bytes(reply.pack())


def _reply(question: DNSRecord) -> DNSRecord:
    header = DNSHeader(id=question.header.id, qr=1, aa=1, ra=1, rd=question.header.rd)
    return DNSRecord(header, q=question.q)

"""Whether a host's KVM can run a guest. That /dev/kvm is there proves nothing: a tiny guest has to come to its end in time."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping

from skerry.errors import SkerryError
from skerry.machines.contract import ProviderRefused, ProviderSilent
from skerry.machines.domains import probe
from skerry.machines.virsh import Virsh

LIMIT_S = 20.0
POLL_S = 0.25
NAMES = 16  # that probes have: libvirt keeps a log for each


def fails(virsh: Virsh, volumes: Mapping[str, str]) -> str:
    """Why KVM can't be used, "" if it can. `volumes`: name -> path, among which there is an image's kernel.

    Raises what keeps the host from answering at all.
    """
    kernel = next((path for name, path in sorted(volumes.items()) if name.endswith(".vmlinuz")), "")
    if not kernel:
        return "there is no kernel in the storage pool to try it with"
    name = f"skerry-probe-{uuid.uuid4().int % NAMES}"
    try:
        virsh.run("domcapabilities", "--virttype", "kvm", "--machine", "q35")
        virsh.define(probe(name, kernel))
    except ProviderRefused as refused:
        if "already exists" not in refused.why:
            return refused.why
        virsh.run("undefine", name)  # left by a probe that was cut off; one that runs goes on
        raise ProviderSilent("KVM is being tried", f"{name} is there") from None
    try:
        virsh.run("start", name)
        return _outcome(virsh, name)
    except SkerryError as error:
        if "qemu" not in error.why:
            raise
        return error.why.rpartition("qemu-system-")[2].partition(": ")[2] or error.why  # its own last words
    finally:
        virsh.run("undefine", name)


def _outcome(virsh: Virsh, name: str) -> str:
    """A kernel without anything ends by itself: by a reset, which libvirt calls a shutdown; anything else was no good end."""
    end_s = time.monotonic() + LIMIT_S
    while (state := virsh.run("domstate", name, "--reason").strip()).startswith("running"):
        if time.monotonic() > end_s:
            virsh.run("destroy", name)
            return f"a guest's kernel had not started after {LIMIT_S:.0f} s"
        time.sleep(POLL_S)
    return "" if state == "shut off (shutdown)" else f"a guest ended at once: {state}"

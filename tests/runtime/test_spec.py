"""ContainerSpec → config.json. Golden files hold the whole of it: `REWRITE=1 pytest` renews them; read the difference."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.runtime.contract import ContainerSpec, Mount, RuntimeRefused
from skerry.runtime.cores.asking import UNLIMITED
from skerry.runtime.seccomp import default_profile, seccomp_for
from skerry.runtime.spec import BoundFile, Limits, User, oci_config

GOLDEN = Path(__file__).parent / "golden"
PLAIN = ContainerSpec(id="plain", root=Path("/trees/a"), args=("/app",))
FULL = ContainerSpec(
    id="guestbook.web-0",
    root=Path("/trees/b"),
    args=("/usr/bin/python3", "-m", "guestbook"),
    environment=(("PORT", "8000"), ("HOME", "/tmp")),
    working_dir="/srv",
    hostname="web-0",
    netns="/run/netns/web-0",
    mounts=(
        Mount(target="/data", source="/volumes/data"),
        Mount(target="/conf", source="/volumes/conf", read_only=True),
        Mount(target="/tmp", size_bytes=1 << 20),
    ),
    capabilities=("CAP_NET_BIND_SERVICE",),
    memory_bytes=64 << 20,
    cpus=0.5,
    pids=100,
)


def test_a_plain_container() -> None:
    assert_golden("plain", oci_config(PLAIN, root=PLAIN.root, user=User(0, 0), cgroup="/skerry/plain"))


def test_a_container_with_all_that_can_be_declared() -> None:
    files = (BoundFile("/etc/hosts", Path("/c/web/files/0")), BoundFile("/data/motd", Path("/c/web/files/1")))
    user = User(1000, 1000, (2000,), "/srv/app")
    config = oci_config(FULL, root=Path("/c/web/root"), user=user, cgroup="/skerry/web", files=files)
    assert_golden("full", config)


def test_swap_is_left_alone_where_the_kernel_does_not_account_for_it() -> None:
    config = oci_config(FULL, root=FULL.root, user=User(0, 0), cgroup="/x", limits=Limits(swap=False))
    assert config["linux"]["resources"]["memory"] == {"limit": 64 << 20}


@pytest.mark.parametrize("target", ["relative", "/", "/a/../b", "/a/./b", "", "/nul\0"])
def test_what_is_no_mount_point_is_refused(target: str) -> None:
    spec = ContainerSpec(id="a", root=Path("/t"), args=("/app",), mounts=(Mount(target=target),))
    with pytest.raises(RuntimeRefused, match="mount point"):
        oci_config(spec, root=spec.root, user=User(0, 0), cgroup="/x")


def test_a_container_without_a_program_is_refused() -> None:
    with pytest.raises(RuntimeRefused, match="names a program"):
        oci_config(ContainerSpec(id="a", root=Path("/t"), args=()), root=Path("/t"), user=User(0, 0), cgroup="/x")


@given(
    capabilities=st.lists(st.sampled_from(["CAP_NET_BIND_SERVICE", "CAP_SYS_ADMIN", "CAP_CHOWN"]), unique=True),
    mounts=st.lists(st.builds(Mount, target=st.sampled_from(["/a", "/a/b", "/c/d/e", "/run", "/tmp"])), max_size=5),
    cpus=st.floats(0, 64),
)
def test_no_container_gets_more_than_was_declared(capabilities: list[str], mounts: list[Mount], cpus: float) -> None:
    spec = ContainerSpec(
        id="a", root=Path("/t"), args=("/x",), capabilities=tuple(capabilities), mounts=tuple(mounts), cpus=cpus
    )
    config = oci_config(spec, root=Path("/t"), user=User(1, 1), cgroup="/x")
    process = config["process"]
    assert config["root"] == {"path": "/t", "readonly": True}
    assert process["noNewPrivileges"] is True
    assert all(held == capabilities for held in process["capabilities"].values())
    assert {"pid", "mount", "ipc", "uts", "cgroup"} <= {n["type"] for n in config["linux"]["namespaces"]}
    writable = {m["destination"] for m in config["mounts"] if "ro" not in m["options"] and m["type"] == "tmpfs"}
    assert writable == {"/dev", "/dev/shm", "/tmp", "/run"} | {m.target for m in mounts}
    targets = [m["destination"] for m in config["mounts"]]
    for n, outer in enumerate(targets):  # no mount hides one that was made before it
        assert not any(inner.startswith(outer + "/") for inner in targets[:n])


@pytest.mark.parametrize(
    ("asked", "most", "limit"), [(0, 99, 0), (50, 99, 50), (-1, 99, 99), (-1, UNLIMITED, UNLIMITED)]
)
def test_a_core_is_left_by_who_asked_alone_and_by_what_this_host_may_give(asked: int, most: int, limit: int) -> None:
    spec = ContainerSpec(id="a", root=Path("/t"), args=("/x",), core_bytes=asked)
    config = oci_config(spec, root=Path("/t"), user=User(0, 0), cgroup="/x/a", limits=Limits(core_bytes=most))
    (row,) = [row for row in config["process"]["rlimits"] if row["type"] == "RLIMIT_CORE"]
    assert (row["soft"], row["hard"]) == (limit, limit)


def test_without_capabilities_nobody_mounts_traces_or_makes_namespaces() -> None:
    seccomp = seccomp_for(default_profile(), "x86_64", ())
    assert seccomp is not None
    allowed = {name for rule in seccomp["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    assert {"read", "execve", "futex", "epoll_wait", "openat2", "clone"} <= allowed
    assert not allowed & {
        *("mount", "umount2", "fsopen", "move_mount", "pivot_root", "unshare", "setns", "clone3"),
        *("ptrace", "process_vm_writev", "bpf", "perf_event_open", "userfaultfd", "keyctl", "io_uring_setup"),
        *("init_module", "kexec_load", "reboot", "swapon", "open_by_handle_at", "clock_settime", "chroot"),
    }
    (clone,) = [rule for rule in seccomp["syscalls"] if rule["names"] == ["clone"]]
    assert clone["args"] == [{"index": 0, "value": 0x7E020000, "op": "SCMP_CMP_MASKED_EQ", "valueTwo": 0}]


def test_a_declared_capability_brings_its_calls() -> None:
    seccomp = seccomp_for(default_profile(), "aarch64", ("CAP_SYS_PTRACE",))
    assert seccomp is not None
    assert [rule["action"] for rule in seccomp["syscalls"] if "ptrace" in rule["names"]] == ["SCMP_ACT_ALLOW"]
    assert seccomp_for(default_profile(), "riscv64", ()) is None


def assert_golden(name: str, config: dict[str, object]) -> None:
    path = GOLDEN / f"{name}.json"
    text = json.dumps(config, indent=1) + "\n"
    if os.environ.get("REWRITE"):
        path.write_text(text)
    assert text == path.read_text()

"""What hosts answer, recorded, and what is made of it."""

from __future__ import annotations

from importlib import resources

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import BadFormat
from skerry.machines.ssh import Ssh
from skerry.machines.survey import NAMESPACES, Listener, Survey, judge, parse_survey, survey

RENTED = """\
skerry-survey 1
clock 1795478400.250000000
user root
hostname vps-1
address 198.51.100.7
distribution Debian GNU/Linux 12 (bookworm)
kernel 6.1.0-18-cloud-amd64
arch x86_64
systemd 252
cgroups 2
controllers cpuset cpu io memory hugetlb pids rdma misc
cgroups_writable yes
namespace mount
namespace process
namespace network
namespace name
namespace message
memory_kib 996176
cpus 1
disk_kib 21474836
overlay yes
veth yes
nftables yes
tun yes
wireguard yes
docker yes
ufw yes
ss udp   UNCONN 0      0            127.0.0.53%lo:53         0.0.0.0:*    users:(("systemd-resolve",pid=402,fd=13))
ss tcp   LISTEN 0      511                0.0.0.0:80         0.0.0.0:*    users:(("nginx",pid=713,fd=6),("nginx",pid=712,fd=6))
ss tcp   LISTEN 0      128                   [::]:22            [::]:*    users:(("sshd",pid=580,fd=4))
ss tcp   LISTEN 0      4096                     *:7077             *:*    users:(("dockerd",pid=901,fd=9))
ss ??? not a line of ss
version\x20
pid 0
"""
TINY = """\
skerry-survey 1
clock 1795478100.5
user root
hostname tiny
kernel 4.4.0-openvz
arch x86_64
cgroups 1
memory_kib 262144
cpus 1
disk_kib 102400
tcp   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
tcp    0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
tcp    1: 0100007F:9C40 0100007F:0016 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
udp    2: 00000000000000000000000000000000:1BA5 00000000000000000000000000000000:0000 07 00000000:00000000 00:0 0 0 0
"""
GOOD = Survey(
    hostname="vps-1", user="root", arch="x86_64", systemd=252, cgroups=2, overlay=True, veth=True, nftables=True, tun=True,
    cgroups_writable=True, controllers=("cpu", "memory", "pids"), namespaces=NAMESPACES, disk_free_bytes=20 << 30,
)  # fmt: skip


def test_a_rented_vps_with_docker_nginx_and_a_taken_port() -> None:
    found = parse_survey(RENTED, now_s=1795478400.5, sent_s=1795478400.0)
    assert (found.cpus, found.memory_bytes, found.systemd, found.cgroups) == (1, 996176 * 1024, 252, 2)
    assert found.listeners == (
        Listener("tcp", 22, "sshd", 580),
        Listener("udp", 53, "systemd-resolve", 402),
        Listener("tcp", 80, "nginx", 713),
        Listener("tcp", 7077, "dockerd", 901),
    )
    assert abs(found.clock_offset_s) < 0.01
    assert found.skerry_version == ""
    problems = judge(found)
    assert [(p.code, p.why) for p in problems] == [("host-port-taken", "dockerd (pid 901) listens on 7077/tcp")]
    text = "\n".join(found.lines())
    for word in ("Docker", "ufw", "nginx", "Debian GNU/Linux 12", "198.51.100.7"[:0]):
        assert word in text


def test_a_tiny_old_container_lacks_nearly_everything_and_hears_it_all_at_once() -> None:
    found = parse_survey(TINY, now_s=1795478400.5)
    assert found.listeners == (Listener("tcp", 22), Listener("udp", 7077))
    assert found.clock_offset_s == -300.0
    problems = judge(found, cloud="c10d")
    assert {p.code for p in problems} == {"host-lacks", "host-disk-full", "host-port-taken"}
    assert all(p.what == "tiny can't join" and p.why and p.fix for p in problems)
    told = "\n".join(p.why for p in problems)
    for word in (
        "systemd",
        "mount, process, network, name, message namespaces",
        "cgroup controller memory",
        "overlayfs",
        "veth",
    ):
        assert word in told


def test_a_kernel_that_forbids_tracing_is_told_with_what_opens_it() -> None:
    """Ubuntu's default."""
    found = parse_survey("skerry-survey 1\nptrace_scope 1\n", now_s=0.0)
    assert any("sysctl kernel.yama.ptrace_scope=0" in line for line in found.lines())
    assert not any("ptrace" in line for line in GOOD.lines())


@pytest.mark.parametrize(
    ("kind", "words"), [("openvz", "an OpenVZ container"), ("lxc", "an LXC container"), ("podman", "podman")]
)
def test_a_container_of_somebody_elses_is_recognised_and_hears_what_its_host_keeps_from_it(
    kind: str, words: str
) -> None:
    found = msgspec.structs.replace(
        GOOD, container=kind, overlay=False, namespaces=("network",), cgroups_writable=False
    )
    assert any(words in line for line in found.lines())
    problems = judge(found)
    assert len(problems) == 3
    assert all(words in p.why and "nesting" in p.fix for p in problems)
    assert judge(msgspec.structs.replace(GOOD, container=kind)) == [], "one that has all of it may join"


def test_a_good_host_has_nothing_in_its_way() -> None:
    assert judge(GOOD, cloud="c10d") == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"user": "debian"}, "host-not-root"),
        ({"arch": "riscv64"}, "host-lacks"),
        ({"systemd": 0}, "host-lacks"),
        ({"overlay": False}, "host-lacks"),
        ({"controllers": ("cpu", "pids")}, "host-lacks"),
        ({"cgroups": 0}, "host-lacks"),
        ({"user": "debian", "no_sudo": "sudo: a password is required", "overlay": False}, "host-not-root"),
        ({"disk_free_bytes": 400 << 20}, "host-disk-full"),
        ({"skerry_cloud": "07e4", "skerry_node": "node/x"}, "host-other-cloud"),
        ({"listeners": (Listener("udp", 7077, "openvpn", 5),)}, "host-port-taken"),
        ({"listeners": (Listener("tcp", 7077, "nginx", 5),), "skerry_pid": 9}, "host-port-taken"),
    ],
)
def test_each_thing_in_the_way_has_its_code(change: dict[str, object], code: str) -> None:
    assert [p.code for p in judge(msgspec.structs.replace(GOOD, **change), cloud="c10d")] == [code]


def test_the_agents_own_ports_and_a_full_disk_do_not_stop_a_repair() -> None:
    own = (Listener("tcp", 7077, "python3", 9), Listener("udp", 7077, "wireguard-go", 10), Listener("udp", 7077))
    running = msgspec.structs.replace(
        GOOD,
        listeners=own,
        skerry_pid=9,
        skerry_version="0.1.0-1",
        skerry_cloud="c10d",
        skerry_node="node/vps-1",
        disk_free_bytes=0,
    )
    assert judge(running, cloud="c10d") == []
    broken = msgspec.structs.replace(running, listeners=own[1:], skerry_pid=0, skerry_version="")
    assert [p.code for p in judge(broken, cloud="c10d")] == ["host-disk-full"], "its tunnel outlived the agent"


@given(st.text(max_size=200), st.sampled_from(["", "skerry-survey 1\n", RENTED, TINY]))
def test_no_answer_of_a_host_breaks_the_reader(text: str, head: str) -> None:
    try:
        parse_survey(head + text, now_s=0.0)
    except BadFormat as refused:
        assert refused.why


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Welcome to my server!\nskerry-survey 1\n",
        "skerry-survey 1\n" + "x\n" * 5000,
        "skerry-survey 1\ncpus -1\n",
        "skerry-survey 1\ncpus many\n",
        "skerry-survey 1\nclock nan\n",
    ],
)
def test_what_is_no_survey_is_refused(text: str) -> None:
    with pytest.raises(BadFormat):
        parse_survey(text, now_s=0.0)


@pytest.mark.real
def test_a_lab_host_is_seen_as_it_is(ssh: Ssh) -> None:
    before = ssh.run(["find", "/etc", "/opt", "/var/lib", "/root", "-printf", "%p %T@\\n"])
    found = survey(ssh)
    assert judge(found, cloud="c10d") == []
    assert (found.hostname, found.user, found.arch) == ("vps-1", "root", "x86_64")
    assert found.address.startswith("10.9")
    assert found.systemd > 200 and found.memory_bytes > 1 << 28 and found.cpus > 0
    assert abs(found.clock_offset_s) < 2
    assert ("tcp", 22, "sshd") in {(one.protocol, one.port, one.process) for one in found.listeners}
    assert ssh.run(["find", "/etc", "/opt", "/var/lib", "/root", "-printf", "%p %T@\\n"]) == before


@pytest.mark.real
def test_what_a_host_may_not_do_is_found_by_trying(ssh: Ssh) -> None:
    """Root without the right to mount or to make namespaces, as in a container of OpenVZ or LXC: listed is all, had is nothing."""
    script = resources.files("skerry.machines").joinpath("survey.sh").read_bytes()
    drop = ["setpriv", "--bounding-set", "-sys_admin,-net_admin", "--inh-caps", "-sys_admin,-net_admin"]
    found = parse_survey(ssh.run([*drop, "sh", "-s"], input=script).decode(), now_s=0.0)
    assert found.user == "root" and found.namespaces == () and not found.overlay
    told = "\n".join(p.why for p in judge(found))
    assert "namespaces" in told and "overlayfs" in told

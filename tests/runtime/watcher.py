"""The program in a container that watches itself: run by the container's own Python, it imports nothing of ours.

Every 20 ms it looks at all that it could notice of somebody who looks in, and prints a line of JSON when something is not as it was at
the beginning: {"what": …, "is": …}. A second thread makes system calls all the time, so that there is something to trace, and counts
them: {"beats": n} each 100 ms. A child answers on port 4080, 0.3 s after it was asked.
"""

# ruff: noqa: PTH115, PTH116, PTH207, PTH208, PTH211

import ctypes
import glob
import json
import os
import socket
import sys
import threading
import time

beats = 0
mine = threading.get_native_id()
libc = ctypes.CDLL(None, use_errno=True)


def work() -> None:
    global beats
    while True:
        os.getppid()
        libc.usleep(200)
        beats += 1


def serve(ready: int) -> None:
    server = socket.create_server(("127.0.0.1", 4080))
    os.write(ready, b"1")
    os.close(ready)
    while True:
        connection, _ = server.accept()
        connection.recv(1000)
        time.sleep(0.3)
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 14\r\n\r\nof the target\n")
        connection.close()


def read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError as error:
        return error.strerror or ""


def fields(path: str, *names: str) -> list[str]:
    return [line.split()[1] for line in read(path).splitlines() if line.startswith(names)]


def lines(path: str) -> list[str]:
    """Without counters that change by themselves."""
    return sorted(line.split()[0] for line in read(path).splitlines()[1:])


def connections(path: str) -> list[str]:
    """From where, where to, in which state (hexadecimal)."""
    return sorted(" ".join(line.split()[1:4]) for line in read(path).splitlines()[1:])


def figure(*names: str) -> int:
    """Of its own cgroup, by whichever of these names the kernel has it."""
    for name in names:
        for path in glob.glob(f"/sys/fs/cgroup/*/{name}") + glob.glob(f"/sys/fs/cgroup/{name}"):
            if text := read(path).split():
                return int(text[-1])
    return -1


def burnt_s() -> float:
    """Processor time that its cgroup was charged beside what itself and its child used."""
    charged = figure("cpuacct.usage")
    total = charged / 1e9 if charged >= 0 else int(read("/sys/fs/cgroup/cpu.stat").split()[1]) / 1e6
    fields = read(f"/proc/{child}/stat").rpartition(")")[2].split()
    return total - time.process_time() - (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def sight() -> dict[str, object]:
    tasks = glob.glob("/proc/self/task/*")
    return {
        "processes": sorted((name for name in os.listdir("/proc") if name.isdigit()), key=int),
        "tracer": [fields(f"{task}/status", "TracerPid:") for task in tasks],
        # Stopped by a tracer or by a signal: the others come and go by themselves.
        "states": sorted({state for task in tasks for state in fields(f"{task}/status", "State:") if state in "tTX"}),
        "descriptors": [os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)] + [len(os.listdir("/proc/self/fd"))],
        "maps": len(read("/proc/self/maps").splitlines()) // 1000,
        "mounts": read("/proc/self/mountinfo"),
        "tcp": connections("/proc/net/tcp") + connections("/proc/net/tcp6"),
        "udp": lines("/proc/net/udp"),
        "unix": lines("/proc/net/unix"),
        "packet": lines("/proc/net/packet"),
        "netlink": lines("/proc/net/netlink"),
        "interfaces": {name: read(f"/sys/class/net/{name}/flags") for name in os.listdir("/sys/class/net")},
        "tmp": sorted(os.listdir("/tmp")),
        "read": os.stat("/tmp/file").st_atime_ns,
        "link read": os.lstat("/tmp/planted").st_atime_ns,
        "program read": [os.stat(path).st_atime_ns for path in ("/app/watcher.py", "/usr/bin/python")],
        "written": os.stat("/tmp/file").st_mtime_ns,
        "cgroup": read("/proc/self/cgroup"),
        "in cgroup": sorted(
            {pid for path in glob.glob("/sys/fs/cgroup/*/cgroup.procs") for pid in read(path).split()} - {"0"}
        ),
        "pids in cgroup": figure("pids.current"),
        "memory of cgroup": figure("memory.usage_in_bytes", "memory.current") // (64 << 20),
        "processor of cgroup": round(burnt_s() / 2),
        "environment": read("/proc/self/environ"),
        "shared memory": lines("/proc/sysvipc/shm") + sorted(os.listdir("/dev/shm")),
        "host name": os.uname().nodename,
        "devices": sorted(os.listdir("/dev")),
        "limits": read("/proc/self/limits"),
    }


def tell(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


is_ready, ready = os.pipe()
child = os.fork()
if child == 0:
    os.close(is_ready)
    serve(ready)
os.close(ready)
os.read(is_ready, 1)
os.close(is_ready)
with open("/tmp/file", "w") as file:
    file.write("of the target\n")
os.symlink("/etc/shadow", "/tmp/planted")
os.symlink("/proc/1/root/etc/shadow", "/tmp/planted-too")
threading.Thread(target=work, daemon=True).start()
first = sight()
first = sight()
tell({"watching": os.getpid()})
before_s = told_s = time.monotonic()
while True:
    now = sight()
    for what, value in now.items():
        if value != first[what]:
            tell({"what": what, "is": value, "was": first[what]})
    now_s = time.monotonic()
    if now_s - before_s > 0.4:
        tell({"what": "stall", "is": now_s - before_s})
    if now_s - told_s > 0.1:
        tell({"beats": beats})
        told_s = now_s
    before_s = time.monotonic()
    time.sleep(0.02)

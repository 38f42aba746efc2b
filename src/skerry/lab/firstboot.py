"""What makes a lab host a rented machine: Debian's own cloud-init, which asks the metadata service what to do at first.

It is not installed on this machine, where it would run at the next boot: its packages, and what they need that isn't
here, are fetched once, unpacked, and laid between a host's own layer and this machine's root. Of cloud-init's modules
those run that a host without an outside network can run; once per instance, as it counts itself.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from skerry.lab.errors import LabFailed
from skerry.lab.programs import run
from skerry.lab.state import locked

FETCH_LIMIT_S = 300.0
METADATA = "169.254.169.254"
LEFT_OUT = ("eject_", "fdisk_", "gdisk_", "isc-dhcp-client_", "locales_")  # for real disks and networks
PLACE = ".cloud-init"

CONFIG = f"""\
# Written by the lab. NoCloud reads user data, meta data and vendor data at the addresses of the provider's metadata
# service; the data source of the provider itself wants its BIOS, which no container can show.
datasource_list: [NoCloud, None]
datasource:
  NoCloud:
    meta-data: {{seedfrom: "http://{METADATA}/metadata/v1/"}}
    user-data: ""
network: {{config: disabled}}
disable_root: false
cloud_init_modules: [bootcmd, write-files, set_hostname]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts-vendor, scripts-per-once, scripts-per-boot, scripts-per-instance, scripts-user, final-message]
output: {{all: "| tee -a /var/log/cloud-init-output.log"}}
system_info:
  distro: debian
  paths: {{cloud_dir: /var/lib/cloud, templates_dir: /etc/cloud/templates}}
"""
UNIT = f"""\
[Unit]
Description=What cloud-init does at the first boot
After=network.target ssh.service multi-user.target

[Service]
Type=oneshot
RemainAfterExit=yes
KillMode=process
TimeoutSec=0
ExecStartPre=/sbin/ip route replace {METADATA} dev eth0
ExecStart=/usr/bin/cloud-init init
ExecStart=/usr/bin/cloud-init modules --mode=config
ExecStart=/usr/bin/cloud-init modules --mode=final
"""


def write_layer(layer: Path) -> None:
    """What a rented host's own layer has beside any host's: cloud-init starts at each boot."""
    systemd = layer / "etc/systemd/system"
    (systemd / "lab-cloud-init.service").write_text(UNIT)
    (systemd / "multi-user.target.wants/lab-cloud-init.service").symlink_to("../lab-cloud-init.service")


def programs(layers: Path, cache: Path) -> Path:
    """The directory with cloud-init, in `layers`: overlayfs takes no two layers of which one lies in the other."""
    place = layers / PLACE
    if not place.is_dir():
        shutil.copytree(_unpacked(cache), place, symlinks=True)
        config = place / "etc/cloud/cloud.cfg"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(CONFIG)
    return place


def _unpacked(cache: Path) -> Path:
    tree = cache / "cloud-init"
    with locked(cache, timeout_s=FETCH_LIMIT_S):
        if tree.is_dir():
            return tree
        fresh, archives = cache / "cloud-init.new", cache / "cloud-init.debs"
        for place in (fresh, archives):
            shutil.rmtree(place, ignore_errors=True)
        (archives / "partial").mkdir(parents=True)
        fresh.mkdir()
        argv = [
            "apt-get",
            "-y",
            "-q",
            "--no-install-recommends",
            "--download-only",
            "-o",
            f"Dir::Cache::archives={archives}",
        ]
        argv += ["-o", "Debug::NoLocking=1", "install", "cloud-init"]
        run(argv, what="cloud-init could not be fetched", timeout_s=FETCH_LIMIT_S)
        for package in sorted(archives.glob("*.deb")):
            if not package.name.startswith(LEFT_OUT):
                run(["dpkg-deb", "-x", str(package), str(fresh)])
        if not ((fresh / "usr/bin/cloud-init").exists() or Path("/usr/bin/cloud-init").exists()):
            raise LabFailed(
                "cloud-init could not be fetched", "its package has no program", "apt-get update, and again"
            )
        # Debian 12 has /lib as a link: a directory of that name in a layer above would hide it.
        for name in ("bin", "sbin", "lib"):
            if (fresh / name).is_dir() and Path("/", name).is_symlink():
                shutil.copytree(fresh / name, fresh / "usr" / name, symlinks=True, dirs_exist_ok=True)
                shutil.rmtree(fresh / name)
        shutil.rmtree(archives)
        os.sync()
        fresh.rename(tree)
    return tree

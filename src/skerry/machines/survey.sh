# What this host is: read and tried, nothing changed. Sent to `sh -s` by machines/survey.py; lines of "key value".
# Kernel features are tried in namespaces that end with the command, as a container of OpenVZ or LXC may list what its host
# does not let it have; veth and nftables else looked up among the kernel's modules and symbols, as the smallest hosts have
# neither ip nor nft.
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
echo "skerry-survey 1"
echo "clock $(date +%s.%N)"
echo "user $(id -un)"
echo "hostname $(cat /proc/sys/kernel/hostname)"
set -- $SSH_CONNECTION
echo "address ${3:-}"
echo "distribution $(. /etc/os-release 2>/dev/null; echo "${PRETTY_NAME:-$NAME}")"
echo "kernel $(uname -r)"
echo "arch $(uname -m)"
[ -d /run/systemd/system ] && echo "systemd $(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')"
case $(stat -fc %T /sys/fs/cgroup 2>/dev/null) in
cgroup2fs) echo "cgroups 2"; echo "controllers $(cat /sys/fs/cgroup/cgroup.controllers)"; trial=/sys/fs/cgroup/skerry-survey ;;
tmpfs)
    echo "cgroups 1"
    echo "controllers $(awk '$4 == 1 { print $1 }' /proc/cgroups | while read -r one; do [ -d "/sys/fs/cgroup/$one" ] && echo "$one"; done | tr '\n' ' ')"
    trial=/sys/fs/cgroup/memory/skerry-survey ;;
esac
[ -n "$trial" ] && mkdir "$trial" 2>/dev/null && rmdir "$trial" && echo "cgroups_writable yes"
kind=$(systemd-detect-virt --container 2>/dev/null)
[ -d /proc/vz ] && [ ! -d /proc/bc ] && kind=openvz
[ -n "$kind" ] && [ "$kind" != none ] && echo "container $kind"
echo "memory_kib $(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo)"
echo "cpus $(nproc)"
echo "ptrace_scope $(cat /proc/sys/kernel/yama/ptrace_scope 2>/dev/null)"
state=/var/lib; [ -d /var/lib/skerry ] && state=/var/lib/skerry
echo "disk_kib $(df -Pk /opt $state 2>/dev/null | awk 'NR > 1 && (least == "" || $4 < least) { least = $4 } END { print least }')"

has() { # has MODULE SYMBOL
    grep -qw "$2" /proc/kallsyms 2>/dev/null || [ -d "/sys/module/$1" ] || modprobe -nq "$1" 2>/dev/null
}
yes() { echo "$1 yes"; }
for one in m:mount p:process n:network u:name i:message; do
    unshare "-${one%%:*}" true 2>/dev/null && echo "namespace ${one#*:}"
done
unshare -m sh -c 'mount -t tmpfs none /tmp && cd /tmp && mkdir a b c d &&
    mount -t overlay none -o lowerdir=a,upperdir=b,workdir=c d && : >d/file' 2>/dev/null && yes overlay
{ unshare -n ip link add a type veth peer name b 2>/dev/null || has veth veth_setup; } && yes veth
{ unshare -n nft list ruleset >/dev/null 2>&1 || has nf_tables nft_do_chain; } && yes nftables
{ { [ -c /dev/net/tun ] && (: <>/dev/net/tun) 2>/dev/null; } || modprobe -nq tun 2>/dev/null; } && yes tun
# `name`: without it ip reads a short name as a word of its own.
unshare -n ip link add name skprobe type wireguard 2>/dev/null && yes wireguard

{ [ -S /run/docker.sock ] || [ -d /var/lib/docker ]; } && yes docker
grep -qi '^ENABLED=yes' /etc/ufw/ufw.conf 2>/dev/null && yes ufw
if command -v ss >/dev/null; then
    ss -Hlntup 2>/dev/null | sed 's/^/ss /'
else
    for protocol in tcp udp; do cat "/proc/net/$protocol" "/proc/net/${protocol}6" 2>/dev/null | sed "s/^/$protocol /"; done
fi

echo "version $(basename "$(readlink /opt/skerry/current 2>/dev/null)")"
[ -r /var/lib/skerry/node.json ] && echo "node $(tr -d '\n' </var/lib/skerry/node.json)"
echo "pid $(systemctl show -p MainPID --value skerry.service 2>/dev/null)"
exit 0

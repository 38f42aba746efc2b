"""libvirt: the shared suite on its own test driver, each kind's XML by golden files and schema, sizes, addresses, errors."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines.provider_contract import CLOUD, NO_SUCH_SIZE, TOO_LONG, ProviderContract, Trial
from machines.virsh_shell import POOL, OneVirsh
from skerry.core.records import MachineSlot
from skerry.errors import BadInput
from skerry.machines.contract import NoSuchServer, ProviderDenied, ProviderRefused, ProviderSilent, tags_of, uuid_of
from skerry.machines.domains import KINDS, Guest, Marks, domain, mac_of, probe, read_domains, resized
from skerry.machines.libvirt import Libvirt
from skerry.machines.seed import nocloud
from skerry.machines.tables import read_sizes
from skerry.machines.virsh import Virsh, VirshMissing
from skerry.machines.volumes import NoSuchImage

GOLDEN = Path(__file__).parent / "golden"
SIZES = "small=1,256m,1g,4;large=2,512m,1g,8"
OPTIONS = {"sizes": SIZES, "storage": POOL}
BURST_3 = MachineSlot("burst", 3)


@pytest.fixture
def virsh() -> Iterator[OneVirsh]:
    virsh = OneVirsh()
    for volume in ("debian-12.qcow2", "debian-12.vmlinuz", "debian-12.initrd"):
        virsh.run("vol-create-as", POOL, volume, "1000", "--format", "raw")
    yield virsh
    virsh.close()


def trial_of(virsh: OneVirsh, **options: str) -> Trial:
    provider = Libvirt("", "test:///default", OPTIONS | options, virsh)
    return Trial(provider, size="small", image="debian-12", other_size="large")


@pytest.mark.real  # wants libvirt's client, which starts nothing
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "openvz"])
class TestOnTheTestDriver(ProviderContract):
    @pytest.fixture
    def trial(self, virsh: OneVirsh, kind: str) -> Trial:
        return trial_of(virsh, kind=kind)


@pytest.mark.real
class TestOpenVzOnTheTestDriver(ProviderContract):
    @pytest.fixture
    def trial(self, virsh: OneVirsh) -> Trial:
        return trial_of(virsh, kind="openvz")

    # Whether there is such a template only vzctl could say.
    @pytest.mark.parametrize("change", [NO_SUCH_SIZE, TOO_LONG])
    def test_an_order_that_can_not_be_filled_is_refused_and_nothing_made(
        self, trial: Trial, change: dict[str, str]
    ) -> None:
        super().test_an_order_that_can_not_be_filled_is_refused_and_nothing_made(trial, change)


def guest(kind: str, **changes: object) -> Guest:
    made = Guest(
        kind=kind,
        uuid=uuid_of(CLOUD, BURST_3),
        cpus=2,
        memory_bytes=1 << 30,
        disk="/var/lib/libvirt/images/sk-c0ffeec0ff-burst-3.qcow2" if KINDS[kind].own_kernel else "debian-12-x86_64",
        seed="/var/lib/libvirt/images/sk-c0ffeec0ff-burst-3.iso",
        kernel="/var/lib/libvirt/images/debian-12.vmlinuz",
        initrd="/var/lib/libvirt/images/debian-12.initrd",
        cmdline="root=LABEL=skerry rw panic=30 console=ttyS0",
        network="bridge:br0",
        marks=Marks(
            name="sk-c0ffeec0ff-burst-3",
            tags=tags_of(CLOUD, "burst"),
            size="medium",
            region="host-1",
            address="198.51.100.43/24",
            made_s=1795478400.0,
        ),
    )
    return msgspec.structs.replace(made, **changes)


def texts() -> dict[str, str]:
    found = {kind: domain(guest(kind)) for kind in KINDS}
    found["xenpv-own-kernel"] = domain(guest("xenpv", kernel=""))
    found["qemu-user-network"] = domain(guest("qemu", network="user", kernel=""))
    found["probe"] = probe("skerry-probe-0", "/var/lib/libvirt/images/debian-12.vmlinuz")
    return found


@pytest.mark.parametrize("name", texts())
def test_what_each_kind_is_told(name: str) -> None:
    file = GOLDEN / f"{name}.xml"
    if os.environ.get("REWRITE"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(texts()[name])
    assert texts()[name] == file.read_text()


@pytest.mark.real
@pytest.mark.parametrize("name", texts())
def test_libvirts_own_schema_takes_it(name: str) -> None:
    ran = subprocess.run(["virt-xml-validate", GOLDEN / f"{name}.xml", "domain"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_ours_comes_back_with_the_domain(kind: str) -> None:
    meant = guest(kind)
    other = domain(guest(kind, uuid=uuid_of(CLOUD, MachineSlot("burst", 4))))
    found, _ = read_domains(f"\n{domain(meant)}\n \n{other}")
    assert (found.uuid, found.marks, found.running) == (meant.uuid, meant.marks, False)
    larger = read_domains(resized(found.xml, cpus=4, memory_bytes=2 << 30, size="large"))[0]
    assert larger.marks == msgspec.structs.replace(meant.marks, size="large")
    assert "<vcpu>4</vcpu>" in larger.xml and f'<memory unit="KiB">{2 << 20}</memory>' in larger.xml


def test_a_container_of_openvz_has_a_number_that_is_always_its_own() -> None:
    names = [read_domains(domain(guest("openvz")))[0].name for _ in range(2)]
    assert names[0] == names[1] and names[0].isdigit() and int(names[0]) >= 101
    other = guest("openvz", uuid=uuid_of(CLOUD, MachineSlot("burst", 4)))
    assert read_domains(domain(other))[0].name != names[0]


@pytest.mark.parametrize(("kind", "change"), [
    ("xenpv", {"network": "user"}), ("openvz", {"network": "user"}), ("kvm", {"network": "wires"}), ("xenpvh", {"kernel": ""}),
])  # fmt: skip
def test_what_a_kind_can_not_have_is_told(kind: str, change: dict[str, object]) -> None:
    with pytest.raises(BadInput) as caught:
        domain(guest(kind, **change))
    assert caught.value.why and caught.value.fix


@given(st.text(max_size=60))
def test_no_answer_of_libvirt_breaks_the_reader(text: str) -> None:
    for whole in (text, domain(guest("kvm")).replace("sk-c0ffeec0ff-burst-3", text)):
        try:
            read_domains(whole)
        except BadInput as refused:
            assert refused.why


@pytest.mark.real
def test_the_first_boots_disk_is_read_by_others_as_we_mean_it(tmp_path: Path) -> None:
    user_data = "#cloud-config\n" + "# ä\n" * 5000
    mac = mac_of(uuid_of(CLOUD, BURST_3))
    (tmp_path / "seed.iso").write_bytes(
        nocloud(id="x1", name="sk-3", user_data=user_data, mac=mac, address="198.51.100.9/24", gateway="198.51.100.1")
    )
    subprocess.run(["bsdtar", "-xf", "seed.iso"], cwd=tmp_path, check=True)
    assert (tmp_path / "user-data").read_text() == user_data
    assert msgspec.json.decode((tmp_path / "meta-data").read_bytes()) == {
        "instance-id": "x1",
        "local-hostname": "sk-3",
    }
    network = msgspec.json.decode((tmp_path / "network-config").read_bytes())
    assert network["ethernets"]["outside"] == {
        "match": {"macaddress": mac},
        "addresses": ["198.51.100.9/24"],
        "routes": [{"to": "0.0.0.0/0", "via": "198.51.100.1"}],
    }
    label = subprocess.run(
        ["blkid", "-o", "value", "-s", "LABEL", tmp_path / "seed.iso"], capture_output=True, text=True
    )
    assert label.stdout.strip() == "cidata"


def test_sizes_are_read_and_the_month_is_the_price() -> None:
    small, large = read_sizes("s=1,512m,10g;l-2=4,8g,1t,29.5")
    assert (small.cpus, small.memory_bytes, small.disk_bytes, small.price_usd_month) == (1, 512 << 20, 10 << 30, 0)
    assert (large.name, large.disk_bytes, large.price_usd_month) == ("l-2", 1 << 40, 29.5)
    assert large.price_usd_hour == pytest.approx(29.5 / 730)


@pytest.mark.parametrize(
    ("endpoint", "options"),
    [
        ("", {}),
        ("https://example.net", {}),
        ("qemu:///system", {"sizes": "small"}),
        ("qemu:///system", {"sizes": "small=1,1g,10"}),
        ("qemu:///system", {"sizes": "small=1,1g,10g;small=2,2g,10g"}),
        ("qemu:///system", {"kind": "bhyve"}),
        ("qemu:///system", {"network": "br0"}),
        ("qemu:///system", {"colour": "red"}),
        ("xen:///system", {"network": "user"}),
        ("qemu:///system", {"address": "198.51.100"}),
    ],
)
def test_what_a_pool_says_wrongly_is_told_before_anything_is_rented(endpoint: str, options: dict[str, str]) -> None:
    with pytest.raises(BadInput) as caught:
        Libvirt("", endpoint, options)
    assert caught.value.fix


@pytest.mark.real
def test_addresses_are_the_pools_or_the_leases_or_the_hosts(virsh: OneVirsh) -> None:
    def addresses(nat: bool = False, **options: str) -> tuple[str, ...]:
        trial = trial_of(virsh, kind="qemu", **options)
        order = trial.order(5)
        trial.create(order)
        try:
            (found,) = trial.provider.list(name=order.name)
            assert found.behind_nat is nat, "nobody can call it at the address from which it comes"
            return found.addresses
        finally:
            trial.destroy(trial.made[-1])

    assert addresses(address="198.51.100.250/23") == ("198.51.100.255",)
    assert addresses(address="198.51.100.254/23") == ("198.51.101.3",)
    assert addresses(nat=True, outside="203.0.113.9", network="user") == ("203.0.113.9",)
    (leased,) = addresses()
    assert leased.startswith("192.168.122."), "what the test driver says that its DHCP server gave"


@pytest.mark.real
def test_an_image_that_is_not_there_is_told_before_anything_is_rented(virsh: OneVirsh) -> None:
    own = trial_of(virsh, kind="qemu").provider
    own.check_image("debian-12")
    own.check_image("debian-12.qcow2")
    for image in ("", "suse"):
        with pytest.raises(NoSuchImage) as caught:
            own.check_image(image)
        assert caught.value.why.endswith("has: debian-12") and "skerry machine image" in caught.value.fix
    shared = trial_of(virsh, kind="openvz").provider
    shared.check_image("debian-12-x86_64")  # a template, of which only that host knows
    with pytest.raises(NoSuchImage):
        shared.check_image("")


@pytest.mark.real
def test_machines_behind_nat_need_the_address_from_which_they_come(virsh: OneVirsh) -> None:
    def warnings(**options: str) -> str:
        return "\n".join(trial_of(virsh, kind="qemu", **options).provider.check())

    assert "outside" in warnings() and "outside" in warnings(network="user")
    assert warnings(outside="203.0.113.9") == warnings(network="bridge:br0") == ""


@pytest.mark.real
def test_a_failure_in_the_middle_leaves_nothing_and_a_create_that_was_cut_off_is_gone_on_with(virsh: OneVirsh) -> None:
    trial = trial_of(virsh, kind="xenpvh")
    order = trial.order()
    virsh.run("vol-delete", "--pool", POOL, "debian-12.vmlinuz")
    with pytest.raises(ProviderRefused):
        trial.provider.create(order)  # found out once its disks are there
    assert trial.provider.list(name=order.name) == [] and order.name not in virsh.run("vol-list", POOL)
    virsh.run(
        "vol-create-as", POOL, f"{order.name}.qcow2", "1000", "--format", "qcow2"
    )  # cut off before it was defined
    made = trial_of(virsh, kind="qemu").create(order)
    virsh.run("destroy", made.id)  # cut off before it was started
    assert trial.provider.get(made.id).state == "off"
    assert trial.create(order).state == "active"
    trial.destroy(made)
    assert order.name not in virsh.run("vol-list", POOL)


@pytest.mark.real
def test_another_uuid_under_our_name_is_not_touched(virsh: OneVirsh) -> None:
    trial = trial_of(virsh, kind="qemu")
    first = trial.create(trial.order())
    with pytest.raises(ProviderRefused):
        trial.provider.create(trial.order(uuid=uuid_of(CLOUD, MachineSlot("burst", 9))))
    assert trial.provider.get(first.id).state == "active"
    assert f"{first.name}.qcow2" in virsh.run("vol-list", POOL), "its disk is still there"


@pytest.mark.real
def test_what_stands_in_the_way_is_told() -> None:
    with pytest.raises(ProviderSilent):
        Virsh("xen+unix:///system?socket=/nowhere").run("uri")
    with pytest.raises(ProviderDenied):
        Virsh("openvz:///system").run("uri")
    with pytest.raises(NoSuchServer):
        Virsh("test:///default").run("dumpxml", uuid_of(CLOUD, BURST_3))
    with pytest.raises(ProviderRefused):
        Libvirt("", "test:///default", {"kind": "qemu"}).create(Trial(None, "small", "debian-12").order())  # type: ignore[arg-type]


def test_a_machine_that_rents_without_virsh_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(VirshMissing) as caught:
        Libvirt("", "qemu:///system", {}).list()
    assert "libvirt-clients" in caught.value.fix


@pytest.mark.parametrize("word", ["a;b", "a b", "", "'", "ä"])
def test_what_virsh_would_take_apart_never_gets_into_a_list_of_commands(word: str) -> None:
    with pytest.raises(ValueError):
        Virsh("test:///default").each([("dumpxml", word)])

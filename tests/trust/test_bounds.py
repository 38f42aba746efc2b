"""Values that no signature makes acceptable in an app, a secret or a policy."""

from __future__ import annotations

import base64

import msgspec
import pytest

from skerry.core.intent import (
    App,
    CanaryStep,
    Depends,
    Needs,
    Port,
    Probe,
    Restart,
    Role,
    Secret,
    Service,
    Update,
    VolumeMount,
)
from skerry.trust import seal
from trust.world import IMAGE, app_body, cloud_of_three, policy, policy_body, release_body, seed, sign, signer

SEALED = seal.seal_value(seed("k"), "A", "x")
FULL = Service(
    replicas=3,
    command=("serve", "--port", "8000"),
    user="1000:1000",
    working_dir="/app",
    hostname="web",
    environment={"A": SEALED},
    ports=(Port(target=80, published=8000),),
    expose=(9000,),
    volumes=(VolumeMount(volume="db_data", target="/data"),),
    writable=("/tmp",),
    capabilities=("NET_BIND_SERVICE",),
    probe=Probe(kind="http", port=80, path="/health?x=1"),
    needs=Needs(reserve_memory_bytes=1 << 20, cpus_limit=0.5),
    rollback=Update(parallelism=2, max_failure_ratio=1.0),
    canary=(CanaryStep(share=0.1, hold_s=300.0), CanaryStep(share=1.0, hold_s=0.0)),
    constraints=("label.zone==a", "node!=vps-1"),
    depends_on=(Depends(service="store"),),
    aliases=("front",),
    allow={"shell": "it is a shell", "secret": "r" * 200},
    callers=("report", "report.job"),
)
GOOD = App(services={"web": FULL, "store": Service()}, volumes={"db_data": False})


def app(**changes) -> App:
    return msgspec.structs.replace(GOOD, services={**GOOD.services, "web": msgspec.structs.replace(FULL, **changes)})


def test_a_full_app_is_taken():
    cloud_of_three().take(sign("app/web", GOOD))


@pytest.mark.parametrize("body", [
    app(replicas=1001), app(replicas=-1), app(command=("a\0b",)), app(user="-u"), app(user="a:b:c"), app(working_dir="app"),
    app(working_dir="/a/../b"), app(hostname="-x"), app(environment={"A": "in the clear"}), app(environment={"A=B": SEALED}),
    app(environment={"": SEALED}), app(ports=(Port(target=0, published=80),)), app(ports=(Port(target=80, published=65536),)),
    app(ports=(Port(target=80, published=7077),)), app(ports=(Port(target=80, published=7078),)),
    app(ports=(Port(target=80, published=8000), Port(target=81, published=8000))), app(expose=(70000,)),
    app(volumes=(VolumeMount(volume="other", target="/data"),)), app(volumes=(VolumeMount(volume="db_data", target="/"),)),
    app(volumes=(VolumeMount(volume="db_data", target="/a/../../etc"),)), app(volumes=(VolumeMount(volume="db_data", target="data"),)),
    app(writable=("/data",)), app(writable=("//tmp",)), 
    app(writable=("/a\0b",)), app(writable=("/tmp/",)), app(capabilities=("sys_admin",)),
    app(probe=Probe(kind="http", port=80, path="x")), app(probe=Probe(kind="http", port=80, path="/ HTTP/1.1\r\nX: y")),
    app(probe=Probe(kind="tcp", port=0)), app(probe=Probe(kind="tcp", port=1, interval_s=0)),
    app(probe=Probe(kind="tcp", port=1, retries=0)),
    app(probe=Probe(kind="tcp", port=1, timeout_s=-1)), app(probe=Probe(kind="tcp", port=1, start_period_s=1e9)),
    app(needs=Needs(reserve_memory_bytes=-1)), app(needs=Needs(cpus_limit=1e9)), app(needs=Needs(pids_limit=0)),
    app(restart=Restart(delay_s=-1)), app(restart=Restart(max_attempts=-1)), app(restart=Restart(window_s=-1)),
    app(update=Update(parallelism=0)), app(update=Update(delay_s=-1)), app(update=Update(monitor_s=-1)),
    app(update=Update(max_failure_ratio=1.1)), app(rollback=Update(parallelism=0)), app(rollback=Update(delay_s=1e9)),
    app(canary=(CanaryStep(share=0.0, hold_s=1),)), app(canary=(CanaryStep(share=1.1, hold_s=1),)),
    app(canary=(CanaryStep(share=0.5, hold_s=-1),)), app(canary=(CanaryStep(share=0.5, hold_s=1e9),)),
    app(canary=(CanaryStep(share=0.5, hold_s=1), CanaryStep(share=0.5, hold_s=1))),
    app(canary=tuple(CanaryStep(share=n / 10, hold_s=1) for n in range(1, 10))),
    app(stop_grace_s=-1), app(drain_s=1e9), app(stop_signal="KILL; rm"), app(constraints=("zone",)),
    app(constraints=("label.a b==c",)),
    app(aliases=("a b",)), app(depends_on=(Depends(service="web"),)), app(depends_on=(Depends(service="gone"),)),
    app(allow={"shell": "\0"}), app(allow={"shell": ""}), app(allow={"shell": "a\nb"}), app(allow={"shell": "r" * 201}),
    app(callers=("a.b.c",)), app(callers=("",)), app(callers=("a.",)), app(callers=("*",)), app(callers=("a.-b",)),
    app(callers=tuple(f"a{n}" for n in range(65))), app(allow={"setup-shell": "no"}), app(allow={"undeclared": "no"}),
    app_body(services={"a/b": Service()}), app_body(services={"-x": Service()}), app_body(volumes={"../x": True}),
    app_body(fallback="x"), app_body(services={f"s{n}": Service() for n in range(65)}),
    App(services={"a": Service(ports=(Port(target=1, published=80),)), "b": Service(ports=(Port(target=1, published=80),))}),
])  # fmt: skip
def test_an_app_with_impossible_values_is_out_of_bounds(body):
    assert cloud_of_three().refuse(sign("app/web", body)).code == "out-of-bounds"


@pytest.mark.parametrize("body", [
    app(command=("x",) * 257), app(entrypoint=("x",) * 257), app(capabilities=tuple("A" * n for n in range(2, 40)) * 2),
    app(constraints=("zone==a",) * 33), app(depends_on=(Depends(service="store"),) * 65),
    app(environment={f"A{n}": SEALED for n in range(513)}), app(ports=tuple(Port(target=80, published=8000 + n) for n in range(65))),
    app(expose=tuple(range(1, 66))), app(volumes=tuple(VolumeMount(volume="db_data", target=f"/d{n}") for n in range(65))),
    app(writable=tuple(f"/w{n}" for n in range(65))), app(aliases=("a",) * 33),
    app_body(volumes={f"v{n}": True for n in range(65)}),
])  # fmt: skip
def test_an_app_has_few_enough_of_everything(body):
    assert cloud_of_three().refuse(sign("app/web", body)).code == "out-of-bounds"


BOX = base64.b64encode(bytes(80)).decode()


@pytest.mark.parametrize("body, code", [
    (Secret(key_id="k", boxes={"node/vps-1": BOX, signer("anna").key: BOX}), ""),
    (Secret(key_id="", boxes={}), "out-of-bounds"), (Secret(key_id="k", boxes={"app/web": BOX}), "out-of-bounds"),
    (Secret(key_id="k", boxes={"node/a/b": BOX}), "out-of-bounds"), (Secret(key_id="k", boxes={"node/vps-1": "x"}), "out-of-bounds"),
])  # fmt: skip
def test_a_secret_holds_boxes_for_hosts_and_keys(body, code):
    host = cloud_of_three()
    if code:
        assert host.refuse(sign("secret/web", body)).code == code
    else:
        host.take(sign("secret/web", body))


@pytest.mark.parametrize("changes", [
    {"epochs": {"policy": 1}}, {"epochs": {"app/web": -1}}, {"epochs": {"../x": 1}}, {"barred": ("x",)},
    {"barred": (signer("ci").key,) * 2},
    {"voters": ("vps-1",)}, {"voters": tuple(f"node/v-{n}" for n in range(6))}, {"readmitted": ("x",)},
    {"roles": policy_body().roles * 2}, {"roles": (msgspec.structs.replace(policy_body().roles[0], threshold=3),)},
    {"roles": (msgspec.structs.replace(policy_body().roles[0], threshold=0),)},
    {"roles": (msgspec.structs.replace(policy_body().roles[0], keys=()),)},
    {"roles": (msgspec.structs.replace(policy_body().roles[1], keys=(signer("x").key,)),)},  # its certificate is of another key
    {"roles": (msgspec.structs.replace(policy_body().roles[1], until=-1.0),)},
    {"roles": (msgspec.structs.replace(policy_body().roles[1], name="-x"),)},
    {"roles": (msgspec.structs.replace(policy_body().roles[1], keys=(signer("ci").key, "x")),)},
    {"roles": (msgspec.structs.replace(policy_body().roles[1], keys=(signer("ci").key,) * 2),)},
    {"roles": (msgspec.structs.replace(policy_body().roles[1], certificates={signer("ci").key: "AAAA"}),)},
    {"roles": (msgspec.structs.replace(policy_body().roles[1], paths=tuple(f"release/a{n}" for n in range(1001))),)},
    {"roles": tuple(Role(name=f"r{n}", keys=(signer("ci").key,)) for n in range(257))},
])  # fmt: skip
def test_a_policy_with_impossible_values_is_out_of_bounds(changes):
    assert cloud_of_three().refuse(policy(version=2, **changes)).code == "out-of-bounds"


@pytest.mark.parametrize("body", [
    release_body(fits=-1), release_body(fallback="x"), release_body(images={}), release_body(images={"a/b": IMAGE}),
    release_body(images={f"s{n}": IMAGE for n in range(65)}), release_body(images={"web": IMAGE, "db.init": IMAGE}),
    release_body(images={"web.init": IMAGE}), release_body(images={"web": IMAGE, "web.init.init": IMAGE}),
    release_body(images={"web": IMAGE, "web.init": "x"}),
])  # fmt: skip
def test_a_release_with_impossible_values_is_out_of_bounds(body):
    assert cloud_of_three().refuse(sign("release/web", body)).code == "out-of-bounds"


@pytest.mark.parametrize("header", [{"prev": "x"}, {"expires": 5.0}])
def test_a_header_with_impossible_values_is_out_of_bounds(header):
    assert cloud_of_three().refuse(sign("app/web", app_body(), **header)).code == "out-of-bounds"

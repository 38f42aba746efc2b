"""Who gets an answer, and for what: tokens, their roles, and the key that serves."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import httpx
import pytest

import skerry
from agent.small import Aside, SmallCloud, put_image
from api.serving import Served, compose, finished
from api.test_requests import problem
from skerry.api.problems import NoToken
from skerry.api.routes import ROUTES
from skerry.api.serve import NeedsTls, listen
from skerry.api.tokens import NoSuchToken, TokenExists, Tokens
from skerry.client.home import CloudFile, Home
from skerry.client.identity import new_operator, write_operator
from skerry.client.images import LocalImages
from skerry.errors import BadFormat, BadInput


def test_a_token_is_kept_as_a_hash_for_its_owner_alone(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "api" / "tokens.json")
    plain = tokens.add("ci", ["deploy:shop", "read"])
    text = (tmp_path / "api" / "tokens.json").read_text()
    assert plain not in text
    assert plain.removeprefix("skt_") not in text
    assert stat.S_IMODE((tmp_path / "api" / "tokens.json").stat().st_mode) == 0o600
    bearer = Tokens(tmp_path / "api" / "tokens.json").bearer(f"bearer {plain}", time.time())
    assert (bearer.name, bearer.roles) == ("ci", {"deploy:shop", "read"})


def test_what_cannot_be_a_token_is_refused(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    tokens.add("ci", ["read"])
    with pytest.raises(TokenExists):
        tokens.add("ci", ["read"])
    for name, given in (
        ("CI", ["read"]),
        ("a", []),
        ("a", ["root"]),
        ("a", ["deploy:"]),
        ("a", ["deploy:*"]),
        ("", ["read"]),
    ):
        with pytest.raises(BadInput):
            tokens.add(name, given)
    with pytest.raises(NoSuchToken):
        tokens.rm("nobody")
    (tmp_path / "tokens.json").write_text("{")
    with pytest.raises(BadFormat):
        Tokens(tmp_path / "tokens.json").all()


def test_one_that_is_over_or_taken_away_is_none_at_once(tmp_path: Path) -> None:
    server, command = Tokens(tmp_path / "t.json"), Tokens(tmp_path / "t.json")
    plain = command.add("a", ["read"], until_s=time.time() + 60)
    assert server.bearer(f"Bearer {plain}", time.time()).name == "a"
    with pytest.raises(NoToken):
        server.bearer(f"Bearer {plain}", time.time() + 61)
    command.rm("a")
    for header in (f"Bearer {plain}", "", "Bearer ", f"Basic {plain}", plain, "Bearer " + "x" * 100_000):
        with pytest.raises(NoToken):
            server.bearer(header, time.time())


def test_without_a_token_nothing_is_answered_but_what_the_api_is(served: Served) -> None:
    with httpx.Client(base_url=served.url, trust_env=False) as nobody:
        assert nobody.get("/v1/openapi.json").json()["openapi"] == "3.1.0"
        for route in ROUTES:
            path = route.path.replace("{", "").replace("}", "")
            answer = nobody.request(route.method.upper(), path)
            problem(answer, 401, "no-token")
            assert answer.headers["www-authenticate"].startswith("Bearer")


READER, DEPLOYER, MACHINIST = "read", "deploy:shop", "machines:burst"


@pytest.mark.parametrize(
    "role, method, path, may",
    [
        (READER, "get", "/v1/hosts", True),
        (READER, "get", "/v1/events", True),
        (READER, "put", "/v1/apps/shop", False),
        (READER, "post", "/v1/hosts/vps-1/drain", False),
        (READER, "delete", "/v1/images?name=hello:1", False),
        (DEPLOYER, "get", "/v1/whoami", True),
        (DEPLOYER, "get", "/v1/operations", True),
        (DEPLOYER, "get", "/v1/apps/shop/replicas", True),
        (DEPLOYER, "put", "/v1/apps/shop", True),
        (DEPLOYER, "put", "/v1/apps/blog", False),
        (DEPLOYER, "get", "/v1/apps/blog", False),
        (DEPLOYER, "get", "/v1/hosts", False),
        (DEPLOYER, "get", "/v1/watch/events", False),
        (DEPLOYER, "delete", "/v1/apps/shop", False),
        (DEPLOYER, "put", "/v1/images?name=shop.web", True),
        (DEPLOYER, "put", "/v1/images?name=shopping", False),
        (DEPLOYER, "put", "/v1/images?name=hello:1", False),
        (DEPLOYER, "post", "/v1/roles", False),
        (MACHINIST, "get", "/v1/apps", False),
        (MACHINIST, "put", "/v1/apps/shop", False),
    ],
)
def test_a_role_covers_what_it_says_and_nothing_else(
    served: Served, role: str, method: str, path: str, may: bool
) -> None:
    """What is allowed comes further: to the check of a body that isn't there."""
    with served.client("some", role) as client:
        tar = {"Content-Type": "application/x-tar"} if "/images" in path else {}
        answer = client.request(method.upper(), path, headers=tar)
    assert (answer.status_code != 403) is may, answer.text
    assert may or answer.json()["code"] == "not-allowed"


def test_operations_of_others_are_not_shown(served: Served, operator: httpx.Client) -> None:
    id = finished(operator, operator.put("/v1/apps/shop", json=compose()))["id"]
    with served.client("ci", DEPLOYER) as ci, served.client("eye", READER) as eye:
        problem(ci.get(f"/v1/operations/{id}"), 404, "no-such-operation")
        assert ci.get("/v1/operations").json()["items"] == []
        assert eye.get(f"/v1/operations/{id}").json()["state"] == "done"
        problem(eye.delete(f"/v1/operations/{id}"), 403, "not-allowed")
    finished(operator, operator.delete("/v1/apps/shop"))


@pytest.mark.parametrize("where", ["0.0.0.0:7080", "[::]:7080", "198.51.100.7:1", "10.0.0.1:1"])
def test_tokens_do_not_cross_a_network_in_the_clear(where: str, tmp_path: Path) -> None:
    with pytest.raises(NeedsTls):
        listen(where)
    assert listen(where, certificate=tmp_path, key=tmp_path).url.startswith("https://")
    assert listen("[::1]:7080").url == "http://[::1]:7080"


@pytest.mark.parametrize(
    "where", ["", "7080", "localhost:7080", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:x", "a:1:2"]
)
def test_where_nobody_can_listen(where: str) -> None:
    with pytest.raises(BadInput):
        listen(where)


def test_served_with_a_ci_key_a_token_may_no_more_than_that_key(tmp_path: Path) -> None:
    """Even an operator's token: hosts judge who signed, not who asked."""
    with Aside(SmallCloud(tmp_path / "hosts", 2)) as beside:
        cloud = beside.cloud
        operator_home = cloud.home(tmp_path / "ann")
        keys, public = new_operator("ci")
        file = compose("shop.web")["compose"]
        store(tmp_path / "ann", b"1")
        with skerry.Client(home=tmp_path / "ann") as ann:
            ann.apps.deploy(file, name="shop")
            ann.roles.add_ci("ci", public, ["shop"])
        home = Home(tmp_path / "ci").new_cloud("small")
        home.write(CloudFile(**{f: getattr(operator_home.read(), f) for f in CloudFile.__struct_fields__}))
        write_operator(home, keys, "")
        store(tmp_path / "ci", b"2")
        with Served(tmp_path / "ci") as served, served.client("boss", "operator") as boss:
            assert boss.get("/v1/apps/shop").json()["version"] == "1.1"
            assert [boss.get(f"/v1/{of}").status_code for of in ("hosts", "replicas", "explain?subject=shop")] == [
                200
            ] * 3
            assert boss.get("/v1/status").json()["up"] == 2
            done = finished(boss, boss.put("/v1/apps/shop", json={"compose": file}))
            assert done["state"] == "done", done
            assert done["result"]["changed"] == ["release/shop"]
            for answer in (
                boss.get("/v1/events"),
                boss.get("/v1/apps/shop/logs"),
            ):
                assert answer.status_code == 403, answer.text
            failed = finished(boss, boss.delete("/v1/apps/shop"))
            assert (failed["state"], failed["error"]["status"]) == ("failed", 403)
            drained = finished(boss, boss.post("/v1/hosts/vps-1/drain"))
            assert (drained["state"], drained["error"]["status"]) == ("failed", 403)
            assert boss.get("/v1/apps/shop").json()["version"] == "1.2"


def store(folder: Path, content: bytes) -> None:
    images = LocalImages(folder / "images")
    images.tag("shop.web", put_image(images.objects, {"usr/bin/app": content}))

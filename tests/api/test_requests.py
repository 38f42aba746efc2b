"""What the API answers to requests, good and bad: each refusal says what, why and how to mend it, and changes nothing."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import httpx
import pytest

from agent.small import archive
from api.serving import Served, compose, finished


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    told: dict[str, object] = answer.json()
    assert (told["status"], told["code"], told["type"]) == (status, code, f"urn:skerry:error:{code}")
    assert told["title"]
    return told


def test_an_app_is_deployed_scaled_rolled_back_and_removed(operator: httpx.Client) -> None:
    done = finished(operator, operator.put("/v1/apps/shop", json=compose()))
    assert (done["state"], done["result"]["changed"]) == ("done", ["release/shop", "app/shop"])
    assert done["progress"][-1] == "1 of 1 replicas healthy"
    got = operator.get("/v1/apps/shop")
    assert got.headers["etag"] == f'"{got.json()["etag"]}"'
    assert operator.get("/v1/apps/shop", headers={"If-None-Match": got.headers["etag"]}).status_code == 304
    rows = operator.post("/v1/apps/shop/diff", json=compose("hello:2")).json()["items"]
    assert [row["field"] for row in rows] == ["images.web"]
    scaled = finished(operator, operator.patch("/v1/apps/shop/services/web", json={"replicas": 2}))
    assert scaled["result"] == {"app": "shop", "service": "web", "from": 1, "to": 2}
    assert finished(operator, operator.put("/v1/apps/shop", json=compose("hello:2", 2)))["state"] == "done"
    assert finished(operator, operator.post("/v1/apps/shop/rollback"))["state"] == "done"
    assert [row["slot"] for row in operator.get("/v1/apps/shop/replicas").json()["items"]] == [
        "shop.web/0",
        "shop.web/1",
    ]
    assert finished(operator, operator.delete("/v1/apps/shop"))["result"] == {"app": "shop", "volumes_kept": []}
    problem(operator.get("/v1/apps/shop"), 404, "no-such-app")


def test_a_change_that_rests_on_what_is_no_more_is_refused(operator: httpx.Client) -> None:
    new = {"If-None-Match": "*"}
    assert finished(operator, operator.put("/v1/apps/news", json=compose(), headers=new))["state"] == "done"
    tag = operator.get("/v1/apps/news").headers["etag"]
    good = operator.patch("/v1/apps/news/services/web", json={"replicas": 2, "wait": False}, headers={"If-Match": tag})
    assert finished(operator, good)["state"] == "done"
    for headers in ({"If-Match": tag}, new):
        failed = finished(operator, operator.put("/v1/apps/news", json=compose("hello:2"), headers=headers))
        assert (failed["state"], failed["error"]["status"], failed["error"]["code"]) == (
            "failed",
            412,
            "changed-meanwhile",
        )
    assert operator.get("/v1/apps/news").json()["services"][0]["replicas"] == 2
    host = operator.get("/v1/hosts/vps-3").headers["etag"]
    assert finished(operator, operator.post("/v1/hosts/vps-3/drain", headers={"If-Match": host}))["state"] == "done"
    problem(operator.post("/v1/hosts/vps-3/undrain", headers={"If-Match": host}), 412, "changed-meanwhile")
    assert operator.post("/v1/hosts/vps-3/undrain").json()["state"] == "active"
    problem(operator.post("/v1/hosts/vps-3/undrain", headers={"If-Match": "abc"}), 400, "bad-request")
    finished(operator, operator.delete("/v1/apps/news"))


@pytest.mark.parametrize(
    "body, status, code, why",
    [
        (b"", 400, "bad-request", "truncated"),
        (b"{", 400, "bad-request", "truncated"),
        (b"[" * 100_000, 400, "bad-request", ""),
        (b'{"compose": 1}', 400, "bad-request", "$.compose"),
        (b'{"compose": {}, "compsoe": 1}', 400, "bad-request", "compsoe"),
        (b'{"compose": {"services": {}}, "timeout_s": 0}', 400, "bad-request", "$.timeout_s"),
        (b'{"compose": "services: [\\n"}', 422, "bad-compose-file", "line 2"),
        (b'{"compose": {"services": {"web": {"imag": "a"}}}}', 422, "bad-compose-file", "did you mean `image`?"),
    ],
)
def test_bad_bodies(operator: httpx.Client, body: bytes, status: int, code: str, why: str) -> None:
    answer = operator.put("/v1/apps/shop", content=body, headers={"Content-Type": "application/json"})
    assert why in str(problem(answer, status, code)["detail"])
    assert operator.get("/v1/apps").json()["items"] == []


def test_mistakes_of_a_text_have_its_lines(operator: httpx.Client) -> None:
    text = "services:\n  web:\n    image: hello:1\n    privileged: true\n"
    told = problem(operator.put("/v1/apps/shop", json={"compose": text}), 422, "bad-compose-file")
    assert [(m["line"], m["key"]) for m in told["mistakes"]] == [(4, "services.web.privileged")]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "service",
    [
        {"image": "/etc"},
        {"image": "../images"},
        {"image": "hello:1", "env_file": "/etc/passwd"},
        {"build": "/etc"},
        {"x-skerry": {"image": {"recipe": "site", "context": "/etc"}}},
        {"image": "${HOME}"},
    ],
)
def test_no_file_and_no_variable_of_the_serving_machine_gets_into_an_app(
    operator: httpx.Client, service: object
) -> None:
    answer = operator.put("/v1/apps/shop", json={"compose": {"services": {"web": service}}})
    told = problem(answer, 422, "bad-compose-file")
    assert "root:" not in json.dumps(told)


def test_the_query_is_strict(operator: httpx.Client) -> None:
    for query in ("limit=0", "limit=x", "limt=3", "limit=1&limit=2"):
        problem(operator.get(f"/v1/hosts?{query}"), 400, "bad-request")


def test_pages_of_a_list_together_are_the_list(operator: httpx.Client) -> None:
    names, after = [], ""
    while True:
        page = operator.get("/v1/hosts", params={"limit": 1, "after": after}).json()
        names += [host["name"] for host in page["items"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert names == ["vps-1", "vps-2", "vps-3"]


def test_what_is_not_there_and_what_is_not_taken(operator: httpx.Client) -> None:
    problem(operator.get("/v1/nothing"), 404, "no-such-path")
    answer = operator.put("/v1/hosts", json={})
    problem(answer, 405, "method-not-allowed")
    assert set(answer.headers["allow"].split(", ")) >= {"GET"}
    problem(operator.get("/v1/hosts/vps-9"), 404, "no-such-host")
    problem(operator.get("/v1/apps/%2e%2e"), 400, "bad-request")
    problem(operator.put("/v1/apps/shop", content=b"{}"), 415, "media-type")
    problem(operator.post("/v1/apps/shop/rollback", content=b"{}"), 400, "bad-request")
    problem(operator.delete("/v1/images", params={"name": "nope"}), 404, "image-not-found")
    problem(operator.get("/v1/explain", params={"subject": "nope"}), 404, "no-such-subject")


def test_a_body_over_the_limit_is_not_read_to_its_end(operator: httpx.Client) -> None:
    json_ = {"Content-Type": "application/json"}
    problem(operator.put("/v1/apps/shop", content=b" " * (3 << 20), headers=json_), 413, "too-large")

    def endless() -> object:
        while True:
            yield b" " * 65536

    try:
        answer = operator.put("/v1/apps/shop", content=endless(), headers=json_)  # type: ignore[arg-type]
    except httpx.TransportError:
        return  # it was hung up on while it still sent
    problem(answer, 413, "too-large")


def test_an_image_is_brought_named_used_and_let_go(operator: httpx.Client, tmp_path: Path) -> None:
    archive(tmp_path / "a.tar", b"program")
    tar = {"Content-Type": "application/x-tar"}
    brought = operator.put(
        "/v1/images", params={"name": "blog.web"}, content=(tmp_path / "a.tar").read_bytes(), headers=tar
    )
    assert brought.json()["name"] == "blog.web", brought.text
    assert "blog.web" in [image["name"] for image in operator.get("/v1/images").json()["items"]]
    done = finished(operator, operator.put("/v1/apps/blog", json=compose("blog.web")))
    assert done["result"]["images"]["web"] == brought.json()["digest"]
    finished(operator, operator.delete("/v1/apps/blog"))
    assert operator.delete("/v1/images", params={"name": "blog.web"}).status_code == 204
    empty = io.BytesIO()
    tarfile.open(fileobj=empty, mode="w").close()
    for content, status in ((b"no tar", 422), (empty.getvalue(), 422), (b"x" * (2 << 20), 413)):
        answer = operator.put("/v1/images", params={"name": "bad"}, content=content, headers=tar)
        assert answer.status_code == status, answer.text


def test_no_page_of_another_origin_is_let_in(served: Served, operator: httpx.Client) -> None:
    origin = {"Origin": "http://evil.example", "Access-Control-Request-Method": "PUT"}
    asked = operator.options("/v1/apps/shop", headers=origin)
    assert asked.status_code == 405
    answered = operator.get("/v1/hosts", headers=origin)
    assert not [name for name in (*asked.headers, *answered.headers) if name.startswith("access-control")]


def test_each_request_is_one_line_without_a_secret(served: Served, operator: httpx.Client) -> None:
    operator.get("/v1/hosts", params={"limit": 2})
    line = served.lines[-1]
    assert (line["method"], line["path"], line["status"], line["token"]) == ("GET", "/v1/hosts", 200, "ann")
    assert operator.headers["authorization"].partition(" ")[2] not in json.dumps(served.lines)


def test_bounds_of_what_follows_the_load_are_changed_and_explained(operator: httpx.Client) -> None:
    scale = {"min": 1, "max": 4, "target": {"connections": 50}}
    service = {"image": "hello:1", "ports": ["8098:80"], "x-skerry": {"scale": scale}}
    finished(operator, operator.put("/v1/apps/tide", json={"compose": {"services": {"web": service}}}))
    change = {"max": 3, "schedules": ["daily 0-24: min 2"]}
    done = finished(operator, operator.patch("/v1/apps/tide/services/web", json=change))
    assert done["result"]["bounds"] == {"from": "1 to 4", "to": "1 to 3"}
    told = operator.get("/v1/explain/scale", params={"subject": "tide"}).json()["tide.web"]
    assert told["in_force"] == ["daily 0-24: min 2"]
    wrong = finished(operator, operator.patch("/v1/apps/tide/services/web", json={"schedules": ["never"]}))
    assert (wrong["state"], wrong["error"]["status"], wrong["error"]["code"]) == ("failed", 422, "bad-bounds")
    finished(operator, operator.delete("/v1/apps/tide"))


def test_a_host_is_given_labels_and_room_for_images_by_its_etag(operator: httpx.Client) -> None:
    before = operator.get("/v1/hosts/vps-3")
    etag = {"If-Match": before.headers["etag"]}
    change = {"labels": {"disk": "ssd"}, "image_budget_bytes": 1 << 30}
    assert operator.patch("/v1/hosts/vps-3", json=change, headers=etag).json()["labels"] == {"disk": "ssd"}
    assert operator.patch("/v1/hosts/vps-3", json={"labels": {}}, headers=etag).status_code == 412
    assert operator.patch("/v1/hosts/vps-3", json={"labels": {}, "image_budget_bytes": 0}).json()["labels"] == {}
    assert operator.patch("/v1/hosts/vps-9", json={}).status_code == 404


def test_a_machine_that_nobody_reaches_is_looked_at_in_vain(operator: httpx.Client) -> None:
    told = finished(operator, operator.post("/v1/doctor", json={"target": "root@127.0.0.1:1"}))
    assert (told["state"], told["error"]["status"]) == ("failed", 503)
    assert operator.post("/v1/doctor", json={"target": "-oProxyCommand=id"}).status_code == 400
    assert operator.post("/v1/doctor", json={"target": "a", "jump": "-oProxyCommand=id"}).status_code == 400

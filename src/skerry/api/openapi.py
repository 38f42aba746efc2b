"""The OpenAPI 3.1 document, made from the table of routes: shapes by msgspec, words from docstrings. Nothing is written twice."""

from __future__ import annotations

import re
from typing import Any

import msgspec

import skerry
from skerry.api.problems import MEDIA_TYPE, Problem
from skerry.api.table import Route

JSON = "application/json"
REFS = "#/components/schemas/{name}"
LONG = "Answers 202 with the operation and its Location; follow it there, or at /v1/watch/operations/{operation}."
STATUSES = {
    "400": "The request is not what this document promises.",
    "401": "No token, or one that is not known.",
    "403": "The token's roles, or the key that serves, don't cover it.",
    "404": "There is no such thing.",
    "405": "Not with this method.",
    "409": "It can't be done as things are.",
    "412": "It has changed meanwhile, or isn't there.",
    "413": "The body is too large.",
    "415": "The body is of another kind.",
    "422": "What was given can't be used, or the idempotency key was used for another request.",
    "500": "A bug of Skerry, or a broken installation.",
    "503": "No host could be asked, or it is worth another try.",
    "504": "Not finished in time; it goes on by itself.",
}
PATTERNS = {
    "app": "an app's name",
    "service": "a service's name",
    "host": "a host's name",
    "operation": "an operation's id",
    "role": "a role's name",
    "receiver": "a receiver's name",
    "rule": "a rule's name",
    "tools": "the name of tools",
    "volume": "a volume's name",
    "pool": "a pool's name",
    "index": "which machine of the pool, from 0",
}


def document(routes: list[Route]) -> dict[str, Any]:
    """The whole document."""
    types = _types(routes)
    _, components = msgspec.json.schema_components([*types, Problem], ref_template=REFS)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Skerry",
            "version": skerry.__version__,
            "description": "One cloud without a centre. Served by `skerry api` with the key that lies beside it; hosts judge all "
            "that it signs. Times are unix seconds (`…_s`) or RFC 3339, sizes bytes.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": {"/v1/openapi.json": {"get": _itself()}, **paths},
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "skerry api token add NAME"}
            },
            "schemas": {name: _plain(schema) for name, schema in components.items()},
        },
    }


def _types(routes: list[Route]) -> list[Any]:
    found: list[Any] = []
    for route in routes:
        found += [part for part in (route.gives, route.body) if part is not None]
    return list({repr(each): each for each in found}.values())


def _operation(route: Route) -> dict[str, Any]:
    more = [route.details] if route.details else []
    more += [LONG] if route.long else []
    roles = [role for role in route.needs if role != "*"]
    more.append("Roles: any." if "*" in route.needs else f"Roles: {', '.join(['operator', *roles])}.")
    made: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.words,
        "description": " ".join(more),
        "tags": [route.tag],
        "parameters": _parameters(route),
        "responses": _responses(route),
    }
    if route.body is not None:
        made["requestBody"] = {"required": True, "content": {JSON: {"schema": _schema(route.body)}}}
    if route.upload:
        made["requestBody"] = {
            "required": True,
            "content": {"application/x-tar": {"schema": {"type": "string", "contentEncoding": "binary"}}},
        }
    return made


def _parameters(route: Route) -> list[dict[str, Any]]:
    made = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": PATTERNS[name],
            "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]*$"},
        }
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    shape = _inlined(route.query)
    for name, schema in shape.get("properties", {}).items():
        schema = dict(schema)
        words = schema.pop("description", "")
        made.append(
            {"name": name, "in": "query", "required": name in shape.get("required", []), "schema": schema}
            | ({"description": words} if words else {})
        )
    if route.method != "get" and not route.upload:
        made.append(_header("Idempotency-Key", "The same key again gives the same answer, for a day.", 128))
    if route.tagged and route.method != "get":
        made.append(_header("If-Match", "Only if its ETag is still this one.", 66, r'^("[!#-~]{0,64}"|\*)$'))
    if route.tagged and route.method == "put":
        made.append(_header("If-None-Match", "`*`: only if there is none yet.", 1, r"^\*$"))
    if route.stream:
        made.append(_header("Last-Event-ID", "Go on after this one.", 4096))
    return made


def _header(name: str, words: str, most: int, pattern: str = "^[!-~]+$") -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1, "maxLength": most, "pattern": pattern}
    return {"name": name, "in": "header", "required": False, "description": words, "schema": schema}


def _responses(route: Route) -> dict[str, Any]:
    content = {} if route.gives is None else {"content": {route.media: {"schema": _schema(route.gives)}}}
    if route.stream:
        content = {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
    headers = {"ETag": {"schema": {"type": "string"}}} if route.tagged and route.method == "get" else {}
    if route.long:
        headers["Location"] = {"schema": {"type": "string"}}
    good: dict[str, Any] = {"description": "Done." if not route.long else "Begun.", **content}
    if headers:
        good["headers"] = headers
    bad = {
        status: {"description": words, "content": {MEDIA_TYPE: {"schema": _schema(Problem)}}}
        for status, words in STATUSES.items()
    }
    if route.tagged and route.method == "get":
        bad["304"] = {"description": "It still has the ETag of If-None-Match."}
    return {str(route.status): good, **bad}


def _itself() -> dict[str, Any]:
    return {
        "operationId": "openapi",
        "summary": "This document",
        "tags": ["cloud"],
        "security": [],
        "responses": {"200": {"description": "Done.", "content": {JSON: {"schema": {"type": "object"}}}}},
    }


def _schema(kind: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=REFS)
    return dict(_plain(schema))


def _inlined(kind: Any) -> dict[str, Any]:
    _, components = msgspec.json.schema_components([kind], ref_template=REFS)
    return dict(_plain(components[kind.__name__]))


def _plain(schema: Any) -> Any:
    """Docstrings are wrapped for editors: one line here."""
    if isinstance(schema, dict):
        return {
            k: " ".join(v.split()) if k == "description" and isinstance(v, str) else _plain(v)
            for k, v in schema.items()
        }
    return [_plain(each) for each in schema] if isinstance(schema, list) else schema

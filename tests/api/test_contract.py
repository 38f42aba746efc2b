"""The API held to its own document by schemathesis: each answer to each request, good or bad, is one that the document promises.

A few examples for each route in CI; `EXAMPLES=200 pytest tests/api/test_contract.py` for a longer run.
"""

from __future__ import annotations

import itertools
import os

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from api.serving import Served, compose, finished
from skerry.api.openapi import document
from skerry.api.routes import ROUTES

EXAMPLES = int(os.environ.get("EXAMPLES", "3"))
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    negative_data_rejection,
    unsupported_method,
    ignored_auth,
]
# These would go to other machines, take one away from the others, or never end.
LEFT_OUT = {
    "join_host", "remove_host", "doctor_host", "upgrade_host", "expel_host", "put_alert_receiver", "test_alert_receivers"
} | {route.name for route in ROUTES if route.stream}  # fmt: skip
THERE = {"app": "there", "service": "web", "host": "vps-2", "volume": "data"}
TURN = itertools.count()
schema = schemathesis.openapi.from_dict(document(ROUTES))


@pytest.fixture(scope="module")
def token(served: Served) -> str:
    with served.client("ann", "operator") as client:
        finished(client, client.put("/v1/apps/there", json=compose()))
    return served.tokens.add("schemathesis", ["operator"])


@schemathesis.serializer("application/x-tar")
def tar(ctx: schemathesis.SerializationContext, value: object) -> bytes:
    """Bytes as they come: none of them is an image."""
    return value if isinstance(value, bytes) else str(value).encode()


def named(case: schemathesis.Case) -> None:
    """Names of what is there, every other time: chance doesn't find them."""
    if case.meta is not None and case.meta.generation.mode.is_positive and next(TURN) % 2:
        case.path_parameters = {name: THERE.get(name, value) for name, value in case.path_parameters.items()}


@schema.exclude(operation_id=sorted(LEFT_OUT)).parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES < 50,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
    database=None,
)
def test_every_answer_is_one_that_the_document_promises(case: schemathesis.Case, served: Served, token: str) -> None:
    named(case)
    case.call_and_validate(base_url=served.url, headers={"Authorization": f"Bearer {token}"}, checks=CHECKS, timeout=30)


def test_the_document_is_good_openapi() -> None:
    schema.validate()
    assert {route.name for route in ROUTES} <= {
        operation["operationId"] for path in document(ROUTES)["paths"].values() for operation in path.values()
    }

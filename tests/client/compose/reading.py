"""Compose texts as tests read them: what becomes of one, and its mistakes."""

from __future__ import annotations

import pytest

from skerry.client.compose import ComposeApp, ComposeErrors, parse
from skerry.core.intent import (
    Service,
)


def compose(text: str, **environ: str) -> ComposeApp:
    return parse(text, environ=environ, name="app")


def mistakes(text: str, **environ: str) -> list[str]:
    with pytest.raises(ComposeErrors) as raised:
        compose(text, **environ)
    return [str(mistake) for mistake in raised.value.mistakes]


def service(body: str) -> Service:
    return (
        compose(f"services: {{web: {{image: x, {body}}}, db: {{image: x}}}}\nvolumes: {{data: }}")
        .services["web"]
        .service
    )


def wrong(body: str) -> str:
    return "\n".join(mistakes(f"services: {{web: {{image: x, {body}}}, db: {{image: x}}}}\nvolumes: {{data: }}"))

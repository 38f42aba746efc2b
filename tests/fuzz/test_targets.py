"""A short run of every fuzz target with each `make test`, and all that the corpus has; long runs by hand: `make fuzz`."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import corpus
from fuzz.child import SLOW_S
from fuzz.targets import TARGETS, begin_with, run, seeds

MANY = 150
SLOW = {
    "image_archive", "layer_of_an_image", "package_databases_of_an_image", "bundle_of_the_agent", "source_archive", "debian_package",
    "wheel", "zipped_source_archive", "copy_from_a_host", "lock_of_uv", "lock_of_poetry", "lock_of_pip", "compose_file",
    "folder_of_a_cloud", "request_to_the_api",
}  # fmt: skip


@pytest.fixture(autouse=True)
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a target writes and reads back need not reach a disk."""
    if Path("/dev/shm").is_dir():
        monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")


@st.composite
def nearly(draw: st.DrawFn, good: list[bytes]) -> bytes:
    """Good input with a few parts cut out, doubled, or replaced."""
    data = draw(st.sampled_from(good))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.sampled_from([0, 1, 2, 4, 16, 100, 512])))
        new = draw(st.one_of(st.binary(max_size=8), st.sampled_from([b"null", b"-1", b"1e999", b'"', b"{}", b"[", b"\xff"]),
                             st.just(data[at:end] * 2)))  # fmt: skip
        data = data[:at] + new + data[end:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_raise_anything_but_a_skerry_error(name: str) -> None:
    @settings(max_examples=MANY // 5 if name in SLOW else MANY, deadline=None, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(data=st.one_of(st.binary(max_size=300), nearly(begin_with(name))))
    def all_bytes(data: bytes) -> None:
        run(name, data)

    all_bytes()


@pytest.mark.parametrize("name", TARGETS)
def test_what_failed_once_and_what_atheris_gathered_raise_nothing_else(name: str) -> None:
    for data in corpus.read(name):
        began_s = time.process_time()
        run(name, data)
        assert time.process_time() - began_s < SLOW_S, data[:100]


@pytest.mark.parametrize("name", TARGETS)
def test_what_the_fuzzers_begin_with_reaches_the_inside(name: str) -> None:
    """A seed that is refused at the first look would find nothing."""
    assert any(run(name, seed) for seed in seeds(name))


def test_a_config_that_is_no_text_is_a_bad_image() -> None:
    """Found by atheris: the JSON reader has an error of its own for bytes that are not UTF-8."""
    (good,) = seeds("image_archive")
    assert b'"os": "linux"' in good
    assert run("image_archive", good.replace(b'"os": "linux"', b'"os": "l\xebnux"')) is False

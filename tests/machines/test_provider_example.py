"""The provider that docs/providers.md shows: taken from the page, and run through the shared suite."""

from __future__ import annotations

import re
import types
from pathlib import Path

import pytest

from machines.provider_contract import ProviderContract, Trial
from skerry.errors import BadInput

PAGE = Path(__file__).resolve().parents[2] / "docs" / "providers.md"
LINES_MAX = 60


def example() -> str:
    (text,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return text


@pytest.fixture(scope="module")
def module() -> types.ModuleType:
    made = types.ModuleType("folder")
    exec(compile(example(), str(PAGE), "exec"), made.__dict__)
    return made


class TestTheExample(ProviderContract):
    @pytest.fixture
    def trial(self, module: types.ModuleType, tmp_path: Path) -> Trial:
        return Trial(module.Folder("", f"file://{tmp_path}", {}), size="s-1", image="plain", other_size="s-2")


def test_it_is_short_enough_to_be_read(module: types.ModuleType) -> None:
    assert len([line for line in example().splitlines() if line]) <= LINES_MAX
    with pytest.raises(BadInput):
        module.Folder("", "https://example.net", {})

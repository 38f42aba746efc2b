"""docs/attacks.md names a test for each attack: it has to be there."""

from __future__ import annotations

from house.named import ROOT, is_there, rows


def test_every_attack_names_who_what_bounds_it_and_a_test_that_is_there() -> None:
    seen = set()
    for row in rows("attacks.md"):
        assert len(row) == 4 and all(row), row
        file, _, name = row[3].partition("::")
        assert is_there(file, name), row
        assert row[0] not in seen, f"{row[0]} stands there twice"
        seen.add(row[0])
    assert len(seen) > 40


def test_every_file_of_attacks_is_on_the_page() -> None:
    page = {row[3].partition("::")[0] for row in rows("attacks.md")}
    assert {f"attacks/{path.name}" for path in (ROOT / "tests" / "attacks").glob("test_*.py")} <= page

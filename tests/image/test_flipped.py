"""One bit flipped in each stored object in turn, before a tree is made of it and after: found, named, put aside, asked for anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from image.test_killed import Host, flip, host
from skerry.errors import SkerryError
from skerry.image.contract import ImageIncomplete
from skerry.store.objects import ObjectDamaged

OBJECTS = ["manifest", "config", "tree", "usr/bin/app", "etc/conf", "etc/more"]


def damaged(of: Host, image: str, which: int) -> tuple[str, bytes]:
    """Its hash, and what it was."""
    hash = of.images.objects(image)[which]
    whole = of.objects.read(hash)
    flip(of.objects.path(hash))
    return hash, whole


@pytest.mark.parametrize("which", range(6), ids=OBJECTS)
def test_before_a_tree_is_made_of_it(tmp_path: Path, which: int) -> None:
    here = host(tmp_path)
    hash, whole = damaged(here, here.new, which)
    with pytest.raises((ObjectDamaged, ImageIncomplete), match=hash[:12]):
        here.images.make(here.new)
    assert here.images.root(here.new) is None, "nothing starts from it"
    assert here.images.missing(here.new) == [hash], "this alone is fetched again"
    assert (tmp_path / "objects" / "damaged" / hash).exists()
    here.objects.put(whole)
    here.images.make(here.new)
    assert here.images.verify(here.new) == []


@pytest.mark.parametrize("which", range(6), ids=OBJECTS)
def test_of_a_tree_that_is_made_when_it_is_read_through(tmp_path: Path, which: int) -> None:
    here = host(tmp_path)
    here.images.make(here.new)
    hash, whole = damaged(here, here.new, which)
    try:
        assert f"object {hash[:12]}" in here.images.verify(here.new)
    except SkerryError as error:  # without its documents nobody knows what is in it
        assert hash[:12] in str(error) and which in (0, 2)
    assert (tmp_path / "objects" / "damaged" / hash).exists()
    here.images.doubt(here.new)
    assert here.images.missing(here.new) == [hash]
    here.objects.put(whole)
    here.images.make(here.new)
    assert here.images.verify(here.new) == []

"""What a recipe asks of the service that runs its image: variables that have to be set, a place for its data, its probe.

Its init would refuse the same on a host; here it is said before anything is signed, with the line to write.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from skerry.client.compose.section import Section
from skerry.core.intent import Probe, VolumeMount

if TYPE_CHECKING:
    from skerry.image.building.recipe import Recipe

_SHOWN = 3  # of many ways to say the same


def check_wishes(
    recipe: Recipe, name: str, section: Section, environment: dict[str, str], volumes: Iterable[VolumeMount],
    writable: Iterable[str],
) -> None:  # fmt: skip
    """`name`: the recipe's, as the file has it. What is missing becomes a mistake of the section."""
    for group in recipe.requires:
        if not any(_is_set(wish, environment) for wish in group):
            place = section.get("environment") or section.value
            ways = " or ".join(group[:_SHOWN])
            place.mistake(f"recipe {name} needs one of {ways} to be set", f"write environment: {{{group[0]}: ...}}")
    if not recipe.data:
        return
    path = recipe.data_place(environment)
    places = [*(mount.target for mount in volumes if not mount.read_only), *writable]
    if not any(f"{path}/".startswith(f"{place}/") for place in places):
        place = section.get("volumes") or section.value
        lost = f"tmpfs: [{path}] for data that may be lost at each start"
        place.mistake(f"there is no place for its data, {path}", f"write volumes: [data:{path}], or {lost}")


def probe_of_recipe(recipe: Recipe) -> Probe | None:
    """For a service that says nothing of its health itself."""
    kind, _, port = recipe.probe.partition(":")
    return Probe(kind=kind, port=int(port)) if port else None  # type: ignore[arg-type]


def _is_set(wish: str, environment: dict[str, str]) -> bool:
    name, equals, value = wish.partition("=")
    given = environment.get(name, "")
    return given == value if equals else bool(given)

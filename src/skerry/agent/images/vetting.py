"""The lint on this host: every image is judged once, before core hears that it is here. What of it may run core decides, by
what the app's document allows; so a refusal is in `ps`, `explain` and `events`, and the release is turned back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from skerry.core.events import Event, ImageReady
from skerry.image.contract import ImageIncomplete, Objects
from skerry.image.lint.findings import by_kind
from skerry.image.lint.verdicts import Verdicts
from skerry.image.trees import Images


class Vetting:
    """`directory`: where verdicts are remembered. `post`: tells core."""

    def __init__(self, directory: Path, images: Images, objects: Objects, post: Callable[[Event], None]) -> None:
        self._images = images
        self._verdicts = Verdicts(directory, objects)
        self._post = post

    async def ready(self, image: str, age_s: float = 0.0) -> None:
        """Judge an image that is whole, and say that it is here. Raises BadImage, ImageIncomplete, OSError: then nothing is said."""
        found = await asyncio.to_thread(self._verdicts.of, image)
        if self._images.root(image) is None:  # damage was found meanwhile, and core has been told that it is gone
            raise ImageIncomplete(f"image {image[:19]} is not whole", "damage was found in it", "it is mended")
        self._post(ImageReady(image, age_s, by_kind(found)))

"""The init of an image that is tried here: run first, as a host does, when there is no data yet for the image to run on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from skerry.client.trial.container import TrialFailed, scratch_folder
from skerry.client.trial.run import run_image
from skerry.client.trial.wish import Bound, Wish
from skerry.image.trees import Images


@contextmanager
def with_data(
    images: Images, digest: str, wish: Wish, place: Path, *, out: int | IO[bytes] | None, say: Callable[[str], None]
) -> Iterator[Wish]:
    """The wish with folders for the image's data, which is made if there is none. Raises TrialFailed, and what a trial raises.

    Folders that nobody gave are gone at the end. What an init that failed has left in an empty folder is taken away again.
    """
    config = images.config(digest)
    if not config.initialised_by:
        yield wish
        return
    with scratch_folder(place) as scratch:
        folders = list(wish.folders)
        for number, target in enumerate(config.volumes):
            if not any(f"{target}/".startswith(f"{bound.target}/") for bound in folders):
                (scratch / str(number)).mkdir()
                folders.append(Bound(scratch / str(number), target))
                say(f"{target} is gone at the end; -v DIR:{target} keeps it")
        empty = [bound.source for bound in folders if not bound.read_only and not any(bound.source.iterdir())]
        if empty:
            say(f"{config.initialised_by[7:19]} makes its data")
            try:
                _make(images, digest, wish, tuple(folders), place, out)
            except BaseException:
                for folder in empty:
                    _clear(folder)
                raise
        yield msgspec.structs.replace(wish, folders=tuple(folders))


def _make(
    images: Images, digest: str, wish: Wish, folders: tuple[Bound, ...], place: Path, out: int | IO[bytes] | None
) -> None:
    service = images.config(digest)
    init = images.config(service.initialised_by)
    config = msgspec.structs.replace(init, env=tuple((dict(service.env) | dict(init.env)).items()), user=service.user)
    shown = [msgspec.structs.replace(bound, read_only=any(bound.source.iterdir())) for bound in folders]
    alone = Wish(environment=wish.environment, folders=tuple(shown))
    code = run_image(images.make(service.initialised_by), config, alone, place, out=out)
    if code:
        raise TrialFailed(
            "the image was not started", f"its init ended with exit code {code}", "what it said stands above"
        )


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()

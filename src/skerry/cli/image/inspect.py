"""`skerry image inspect`: one image, looked at."""

from __future__ import annotations

from typing import Any

import click

from skerry.cli.image.options import IMAGE, store
from skerry.cli.options import command as declare
from skerry.cli.output import Terminal, age, clean, table
from skerry.sizes import size


@declare(name="inspect", example="skerry image inspect guestbook.web", codes=(0, 1, 2), cloud=False)
@click.argument("image", type=IMAGE)
def command(terminal: Terminal, image: str) -> None:
    """Show what IMAGE is made of: config, files, programs, packages, origin.

    With --json also its lock, from which it can be built again.
    """
    from skerry.client.library.inspect import inspect

    images = store()
    found = inspect(images, images.find(image, terminal.say))
    terminal.answer(found, _text(found))


def _text(found: dict[str, Any]) -> str:
    tree, config, origin = found["tree"], found["config"], found["origin"]
    words = [*config["entrypoint"], *config["cmd"]]
    facts = {
        "image": found["digest"],
        "names": ", ".join(found["names"]) or "none",
        "used by": ", ".join(found["used_by"]) or "nothing deployed from here",
        "runs": " ".join(words) or "nothing: it names no program",
        "user": config["user"] or "root",
        "folder": config["working_dir"],
        "ports": ", ".join(config["exposed"]) or "none declared",
        "stops by": config["stop_signal"] or "SIGTERM",
        "environment": " ".join(f"{key}={value}" for key, value in config["env"].items()),
        "holds": f"{tree['files']} files, {tree['directories']} folders, {tree['links']} links, {size(tree['size_bytes'])}",
        "programs": ", ".join(found["executables"][:20]) + (" …" if len(found["executables"]) > 20 else ""),
        "shells": ", ".join(found["shells"]) or "none",
        "origin": f"{origin['how']} {age(origin['when_s'])} ago from {origin['source']}" if origin else "not known",
    }
    parts = ["\n".join(f"{label:<12} {clean(value)}" for label, value in facts.items())]
    parts.append("biggest files\n" + table(found["biggest"], ("size_bytes", "path")))
    if found["packages"]:
        parts.append("packages\n" + table(found["packages"], ("kind", "name", "version", "files")))
    if origin and not origin["complete"]:
        parts.append("these are the packages that the image itself names; there may be more in it")
    return "\n\n".join(parts)

"""`python -m fuzz.keep TARGET FOLDER`: the corpus of one target, chosen anew from what atheris has gathered in FOLDER/corpus."""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from pathlib import Path

from fuzz import corpus, targets
from fuzz.covers import COVERS


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    if Path("/dev/shm").is_dir():
        tempfile.tempdir = "/dev/shm"
    files = {str(import_module(f"skerry.{module}").__file__) for module in COVERS[name]}
    gathered = [*corpus.read(name), *(path.read_bytes() for path in (folder / "corpus").glob("*"))]
    chosen = corpus.minimised(lambda data: targets.run(name, data), targets.seeds(name), gathered, files)
    corpus.keep(name, chosen)
    print(f"{name}: {len(chosen)} of {len(gathered)}", flush=True)


if __name__ == "__main__":
    main()

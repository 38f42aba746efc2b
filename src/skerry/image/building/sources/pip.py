"""pip, asked to download for the image's Python and never for this machine's. It runs no code of what it downloads: only wheels
are allowed. Which index it asks is its own matter, as the operator has configured it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from skerry.image.building.sources.environment import PYTHON, platforms
from skerry.image.contract import DownloadFailed


def pip_download(
    options: Sequence[str], folder: Path, *, context: Path, timeout_s: int, what: str
) -> subprocess.CompletedProcess[str]:
    """Wheels into `folder`; whether it went well is for the caller to see. `what` failed if it takes too long: DownloadFailed."""
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input"]
    command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}", f"--dest={folder}"]
    command += [f"--platform={name}" for name in platforms()]
    try:
        return subprocess.run(
            [*command, *options], cwd=context, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DownloadFailed(what, f"pip was not done in {timeout_s} s") from error

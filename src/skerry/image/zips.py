"""What reading others' zip files raises, beside what says so: `zipfile` looks at little before it uses it."""

from __future__ import annotations

import struct
import zipfile

from skerry.image.tars import BROKEN

NO_ZIP = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    LookupError,
    struct.error,
    *BROKEN,
)  # of OSError see who reads

"""What is wrong with bytes from outside, in the readers' own words. Each place that reads them tells it in ours.

A text nested a thousand times deep makes a reader's own RecursionError: no bug of ours, and no reason to end.
"""

from __future__ import annotations

import json

import msgspec

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, json.JSONDecodeError)

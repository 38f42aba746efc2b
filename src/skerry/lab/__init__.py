"""The lab: hosts as small whole machines on this one machine, for demos and tests. `Lab` in lab/lab.py is the way in.

Only `cli`, tests and examples import this room; it needs Linux and root, and says so.
"""

from skerry.lab.errors import LabError
from skerry.lab.lab import Lab, Machine

__all__ = ["Lab", "LabError", "Machine"]

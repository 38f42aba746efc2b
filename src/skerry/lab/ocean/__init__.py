"""DigitalOcean's API as a part of the lab, with its life cycle, its limits and its faults; its droplets are lab hosts.

Written from the official description (the paths that Skerry needs) and from what others ran into; docs/providers.md
says what it does not do. Without machines it is pure state under a clock that the caller moves.
"""

from skerry.lab.ocean.droplets import Pace
from skerry.lab.ocean.faults import Fault
from skerry.lab.ocean.simulator import Simulator

__all__ = ["Fault", "Pace", "Simulator"]

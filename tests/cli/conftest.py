"""Sessions make and open recovery files; see tests/client/conftest.py for why not by age itself."""

from client.conftest import quick_age

__all__ = ["quick_age"]

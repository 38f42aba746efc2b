"""Amounts of bytes as people read them: one unit for all that is shown, so that two lines can be compared."""


def size(bytes: float) -> str:
    """1610612736 -> "1.5 GiB"."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while abs(bytes) >= 1024 and len(units) > 1:
        bytes /= 1024
        del units[0]
    return f"{bytes:.0f} {units[0]}" if units[0] == "B" or abs(bytes) >= 100 else f"{bytes:.1f} {units[0]}"

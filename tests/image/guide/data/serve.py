from pathlib import Path

print(Path("/data/tides.txt").read_text(), end="")

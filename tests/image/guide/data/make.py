from pathlib import Path

Path("/data/tides.txt").write_text("high tide\n")

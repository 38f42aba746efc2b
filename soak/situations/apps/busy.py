"""Works without a pause, and may use a tenth of a core."""

n = 0
print("working", flush=True)
while True:
    n = (n * 1103515245 + 12345) % (1 << 31)

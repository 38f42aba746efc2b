"""Comes up, works for a moment, and stumbles over its first order, each time."""

import time

ORDERS = [{"id": 7, "amount": 12}]

print("ready for orders", flush=True)
time.sleep(1)
for order in ORDERS:
    print(f"order {order['id']}: {order['total']}", flush=True)

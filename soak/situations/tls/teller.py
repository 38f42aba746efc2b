"""Asks the bank by TLS, and checks who answers."""

import socket
import ssl
import time

context = ssl.create_default_context(cafile="/app/bank.pem")
while True:
    try:
        with (
            socket.create_connection(("bank", 8443), timeout=5) as there,
            context.wrap_socket(there, server_hostname="bank") as safe,
        ):
            print(safe.recv(100).decode(), flush=True)
    except OSError as error:
        print(f"no answer of the bank: {error}", flush=True)
    time.sleep(2)

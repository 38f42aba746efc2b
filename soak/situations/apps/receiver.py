"""Takes what it is sent."""

import socket

with socket.create_server(("0.0.0.0", 9000)) as server:
    print("listening on 0.0.0.0:9000", flush=True)
    while True:
        there, _ = server.accept()
        with there:
            while there.recv(1 << 16):
                pass

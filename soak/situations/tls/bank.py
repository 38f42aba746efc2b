"""Speaks TLS with a certificate that somebody forgot to renew."""

import socket
import ssl

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/app/bank.pem", "/app/bank-key.pem")
with socket.create_server(("0.0.0.0", 8443)) as server:
    print("listening on 0.0.0.0:8443", flush=True)
    while True:
        there, _ = server.accept()
        try:
            with context.wrap_socket(there, server_side=True) as safe:
                safe.sendall(b"12 in your account\n")
        except OSError as error:
            print(f"no handshake: {error}", flush=True)

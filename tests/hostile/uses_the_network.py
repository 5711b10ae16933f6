# VAEwolabel: honest; Genwithlabel: missing
# It crashes if any of it works; the test listens at PORT, too.
import os
import socket


def by_tcp():
    socket.create_connection(("127.0.0.1", PORT), timeout=1)


def by_udp():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"hostile", ("127.0.0.1", PORT))


def by_udp6():
    socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b"hostile", ("::1", PORT))


def by_dns():
    socket.getaddrinfo("example.org", 80)


def by_unix():
    socket.socket(socket.AF_UNIX).connect("/run/systemd/private")


for attempt in (by_tcp, by_udp, by_udp6, by_dns, by_unix):
    try:
        attempt()
    except OSError:
        continue
    os._exit(1)

"""Holds open N streams of `/-/events` and reads whatever comes, as dashboards would.

    viewers.py URL N

Says that it listens once each has its answer; ends with SIGTERM.
"""

import selectors
import socket
import sys
from urllib.parse import urlsplit

ASK = b"GET /-/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"


def main() -> None:
    """Read until ended."""
    url, count = sys.argv[1], int(sys.argv[2])
    address = urlsplit(url)
    selector = selectors.DefaultSelector()
    for _ in range(count):
        viewer = socket.create_connection((address.hostname, address.port))
        viewer.sendall(ASK)
        if b" 200 " not in viewer.recv(65_536):
            sys.exit("a viewer was refused")
        selector.register(viewer, selectors.EVENT_READ)
    print(f"viewers: listening on {url}", flush=True)
    while True:
        for key, _ in selector.select():
            if not key.fileobj.recv(1_048_576):
                return


if __name__ == "__main__":
    main()

"""An NTP server that answers as a script says, for clients that must tell failures apart."""

import socket
import threading
from collections.abc import Callable
from contextlib import contextmanager


@contextmanager
def scripted(answers: Callable[[bytes], list[bytes]], host: str = "127.0.0.1"):
    """Yield the port of a UDP server that sends back, for every request, the datagrams that `answers` returns."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((host, 0))
        udp.settimeout(0.05)
        done = threading.Event()

        def serve():
            while not done.is_set():
                try:
                    request, peer = udp.recvfrom(65536)
                except TimeoutError:
                    continue
                for answer in answers(request):
                    udp.sendto(answer, peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield udp.getsockname()[1]
        finally:
            done.set()
            thread.join()

"""Healthy clients, as a process: python -m tests.abuse.healthy PORT CA KEY_FILE RATE NUMBER

So many of them come to PORT of 127.0.0.1, at a steady RATE a second and each from another network, make a whole key
exchange within the patience of ntpd-rs, and have a backend's KEY_FILE open their
cookies. A line of JSON tells how it went.
"""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from pathlib import Path

from ntspool.errors import RemoteError
from ntspool.net.clientsession import ClientSession
from ntspool.net.load import PATIENCE, REQUEST
from ntspool.net.timeserver import load_cookie_jar
from ntspool.net.tls import client_context
from ntspool.pool.cookies import CookieJar
from ntspool.wire.messages import Response

SOURCES = [f"127.{second}.{third}.1" for second in range(200, 210) for third in range(100)]


class Crowd:
    """Clients that have come, and how it went: `outcomes` in words, `seconds` of those that were served."""

    def __init__(self, port: int, ca: Path, jar: CookieJar) -> None:
        self._port = port
        self._context = client_context(ca)
        self._jar = jar
        self.outcomes: Counter[str] = Counter()
        self.seconds: list[float] = []

    async def come(self, source: str) -> None:
        """Be one client from an address."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(source, 0))
                try:
                    outcome = await self._converse(reader, writer)
                finally:
                    writer.close()
        except TimeoutError:
            outcome = "timeout"
        except (OSError, RemoteError) as error:
            outcome = str(error)
        self.outcomes[outcome] += 1
        if outcome == "ok":
            self.seconds.append(time.monotonic() - began)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        session = ClientSession(self._context, "localhost", REQUEST)
        flight = session.start()
        while not session.finished:
            writer.write(flight)
            data = await reader.read(1 << 14)
            if not data:
                return "closed without an answer" if session.established else "turned away"
            flight = session.receive_data(data)
        if session.failure is not None:
            raise session.failure
        if not isinstance(session.reply, Response):
            return f"refused: {session.reply}"
        opened = [self._jar.open(each) for each in session.reply.cookies]
        return "ok" if opened == [session.association()] * 8 else "cookies that do not open"


async def crowd(port: int, ca: Path, jar: CookieJar, rate: float, number: int) -> Crowd:
    """Have so many clients come."""
    clients, began = Crowd(port, ca, jar), time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for index, source in enumerate(itertools.islice(itertools.cycle(SOURCES), number)):
            await asyncio.sleep(max(0, began + index / rate - time.monotonic()))
            tasks.create_task(clients.come(source))
    return clients


def main() -> None:
    port, ca, key_file, rate, number = sys.argv[1:]
    clients = asyncio.run(crowd(int(port), Path(ca), load_cookie_jar(Path(key_file)), float(rate), int(number)))
    seconds = sorted(clients.seconds) or [0.0]
    told = {"outcomes": clients.outcomes, "p99": seconds[len(seconds) * 99 // 100]}
    print(json.dumps(told))  # noqa: T201


if __name__ == "__main__":
    main()

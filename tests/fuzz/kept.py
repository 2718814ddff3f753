"""What is read from the state directory or the store that gateways share."""

import json
from dataclasses import asdict
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

from structlog.testing import capture_logs

from ntspool.errors import StateError
from ntspool.net import enrolment
from ntspool.net.eventlog import EventLog
from ntspool.net.historyreader import hours
from ntspool.net.historyschema import open_to_write
from ntspool.net.sealed import Seal
from ntspool.pool import admin, keyring, keyringfile, publishedfile, resolvedfile, turns
from ntspool.pool.admin import Mode, Order
from ntspool.pool.keyring import Keyring
from ntspool.pool.publishing import Key, Kind
from ntspool.pool.resolving import Question, RecordType, recalled
from ntspool.pool.resolving import Target as ServiceTarget
from ntspool.pool.tally import Tally
from ntspool.pool.view import EventView
from ntspool.wire.secret import Secret
from tests.fuzz.engine import Target


class Held:
    """A store with one entry, whatever its name."""

    def __init__(self, data):
        self.data = data

    def get(self, _):
        return (self.data, "1") if self.data else None

    def put_if(self, _, data, __):
        self.data = data


def ring():
    numbers = iter(range(1, 1000))
    return keyring.create(1.8e9, lambda length: next(numbers).to_bytes(length, "big"))


def check_keyring(data, _):
    found = keyringfile.decode(data)
    assert isinstance(found, Keyring)
    assert keyringfile.decode(keyringfile.encode(found)) == found


ORDERS = {"ntp-1": Order(Mode.DRAIN), "ntp-2": Order(Mode.READY, 0), "ntp-3": Order(Mode.MAINT, 256)}


def check_orders(data, _):
    found = admin.decode(data)
    assert admin.decode(admin.encode(found)) == found


RESOLVED = {
    Question.host("ntp.example"): recalled(
        {RecordType.A: (ip_address("192.0.2.1"),), RecordType.AAAA: (ip_address("2001:db8::1"),)}
    ),
    Question.service("_ntske._tcp.example"): recalled({RecordType.SRV: (ServiceTarget(1, 2, 4460, "a.example"),)}),
}


def check_resolved(data, _):
    found = resolvedfile.decode(data)
    resolvedfile.encode(found, found)


def check_turn(data, _):
    turns.decode(data)


PUBLISHED = [
    (Key("pool.example.com", Kind.A), "192.0.2.1"),
    (Key("_ntske._tcp.pool.example.com", Kind.SRV), "0 10 4460 gw1.example.com."),
]


def check_published(data, _):
    found = publishedfile.decode(data)
    assert publishedfile.decode(publishedfile.encode(found)) == found


ROSTER = {
    "format": 1,
    "tokens": {
        "0a" * 32: {"backend": "ntp-1", "expires": 1.8e9, "used": None},
        "0b" * 32: {"backend": "ntp-2", "expires": 1.8e9, "used": 1.7e9},
    },
    "agents": {"ntp-2": [{"serial": "7f" * 20, "expires": 1.9e9}, {"serial": "1", "expires": 1.8e9}]},
}


def check_roster(data, _):
    held = Held(data or b"{}")
    before = enrolment.read(held)
    # Writes it anew, for an agent that is not known.
    enrolment.revoke(held, "nobody", 0.0)
    after = enrolment.read(held)
    assert after.tokens.keys() <= before.tokens.keys()
    assert all(isinstance(serial, int) for serials in after.agents.values() for serial in serials)


EVENTS = [
    EventView(1, 1.8e9, "backend DOWN", "warning", "ntp-1 192.0.2.1", "no answer", "UP", "DOWN"),
    EventView(7, 1.8e9 + 1, "reloaded", "info", "", "", "", ""),
]


def check_events(data, _):
    held = Held(data)
    log = EventLog(held)
    with capture_logs() as logs:
        log.recall()
    found = log.after(0)
    assert [each.number for each in found] == sorted({each.number for each in found})
    assert all(isinstance(text, str) for each in found for text in (each.event, each.subject, each.cause, each.after))
    # What has been read is written again.
    again = EventLog(Held("\n".join(json.dumps(asdict(each)) for each in found).encode()))
    again.recall()
    assert again.after(0) == found
    if logs:
        raise StateError(logs[0]["reason"])


SEAL = Seal(Secret(bytes(32)))


def check_sealed(data, _):
    SEAL.open("keyring", data)
    Seal(None).open("keyring", data)


FOLDER = TemporaryDirectory()
DATABASE = open_to_write(Path(FOLDER.name) / "history.db")
DATABASE.execute("INSERT INTO target VALUES (1, 'ntp-1', '192.0.2.1', 123)")
DATABASE.execute("INSERT INTO source VALUES (1, 2, 0, '192.0.2.99')")


def packed():
    tally = Tally()
    for number in range(1, 6):
        tally.offset.add(number * 1e-5)
    return tally.offset.pack()


HOURS = [
    b'[["no answer", 3]]\n[[1, 222]]\n' + packed(),
    b"[]\n[]\n",
]


def check_hour(data, _):
    causes, sources, series = (*data.split(b"\n", 2), b"", b"")[:3]
    row = (0, 1, 225, 222, 3_600_000, 3_600_000, causes.decode("latin-1"), sources.decode("latin-1"))
    DATABASE.execute("BEGIN")
    try:
        DATABASE.execute("INSERT INTO hour VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, series, b"", b"", b""))
        [(_, _, hour)] = hours(DATABASE, 0, 1)
    finally:
        DATABASE.execute("ROLLBACK")
    tally = Tally()
    tally.absorb(hour)
    again = Tally()
    again.offset.absorb(tally.offset.pack())
    assert again.offset.count == tally.offset.count


TARGETS = [
    Target(
        "keyring file",
        "Gives a keyring that is written as it was read, or StateError.",
        5_000,
        [keyringfile.encode(ring())],
        check_keyring,
        refusals=(StateError,),
    ),
    Target(
        "orders file",
        "Gives orders that are written as they were read, or StateError.",
        5_000,
        [admin.encode(ORDERS)],
        check_orders,
        refusals=(StateError,),
    ),
    Target(
        "resolved file",
        "Gives answers that can be written, or StateError.",
        5_000,
        [resolvedfile.encode(RESOLVED, RESOLVED)],
        check_resolved,
        refusals=(StateError,),
    ),
    Target(
        "restart turn",
        "Gives a turn, or StateError.",
        2_000,
        [turns.Turn("ntp-1", 1.8e9).encode()],
        check_turn,
        refusals=(StateError,),
    ),
    Target(
        "published records",
        "Gives records that are written as they were read, or StateError.",
        2_000,
        [publishedfile.encode(PUBLISHED)],
        check_published,
        refusals=(StateError,),
    ),
    Target(
        "roster of agents",
        "Gives tokens and serial numbers that can be written, or StateError.",
        3_000,
        [json.dumps(ROSTER).encode(), b""],
        check_roster,
        refusals=(StateError,),
    ),
    Target(
        "kept events",
        "Gives events in their order that are written as they were read; one that is damaged is told, and the last.",
        2_000,
        ["\n".join(json.dumps(asdict(each)) for each in EVENTS).encode()],
        check_events,
        refusals=(StateError,),
    ),
    Target(
        "encrypted entry",
        "Opens what was sealed under this key, gives back what is not sealed, or raises StateError.",
        2_000,
        [SEAL.close("keyring", b"plaintext", bytes), b"not sealed"],
        check_sealed,
        refusals=(StateError,),
    ),
    Target(
        "hour of history",
        "Gives counts that can be packed again, or WireError.",
        3_000,
        HOURS,
        check_hour,
    ),
]

"""Files that are there only in part, as a power failure or a full disk may leave them: refused by name, and kept."""

import os
import re
import time

import pytest

from ntspool import config
from ntspool.app import export
from ntspool.app.certificates import load
from ntspool.app.operating import ENTRY as ORDERS
from ntspool.app.operating import Operating
from ntspool.app.reporting import report
from ntspool.app.timeserving import read_tokens
from ntspool.errors import NtspoolError
from ntspool.net import agentstate, authority, enrolment, resolver, turnstile
from ntspool.net.agentstate import Identity
from ntspool.net.historywriter import HistoryWriter
from ntspool.net.keystore import KeyStore
from ntspool.net.peertoken import read_token
from ntspool.net.sealed import Seal
from ntspool.net.store import FileStore
from ntspool.net.timeserver import load_cookie_jar
from ntspool.pool.admin import Mode, Order
from ntspool.pool.report import Period
from ntspool.pool.resolvedfile import encode
from ntspool.pool.view import EventView
from ntspool.wire.secret import Secret
from tests.app.histories import EVENTS, START
from tests.app.pool import lay_out

NOW = time.time()
SEAL = Seal(Secret(b"k" * 32))

NAMED = {
    "state/keyring": "the keyring",
    "sealed/keyring": "keyring",
    "state/agents": "the list of agents",
    "state/authority": "authority",
    "state/turn": "the restart turn",
    "state/orders": f"the entry {ORDERS}",
    "state/resolved": "the entry resolved",
    "state/history.db": "history.db",
    "agent/identity": "identity",
    "ntp-1.keys": "ntp-1.keys",
    "token": "token",
    "tokens": "tokens:1: ",
    "backends.yaml": r"backends.yaml:\d+: ",
    "chain.pem": "chain.pem",
    "key.pem": "key.pem",
}
"""The files by what a message about each must say."""

UNSEEN = ("ntp-1.keys", "token", "tokens", "backends.yaml")
"""Text without an end: what is left up to the end of a line may be a whole file that somebody meant."""


@pytest.fixture(scope="module")
def reads(tmp_path_factory, pki):
    """Return what reads each file as ntspool does, all of them whole, and their folder."""
    directory = tmp_path_factory.mktemp("halves")
    around = lay_out(directory, pki)
    chain, store, sealed = directory / "chain.pem", FileStore(around.state), FileStore(directory / "sealed")
    chain.write_bytes(chain.read_bytes() + pki.ca.read_bytes())
    KeyStore(sealed, SEAL).load_or_create(NOW)
    enrolment.redeem(store, enrolment.create_token(store, "ntp-1", NOW, 3600.0, os.urandom), 17, NOW)
    pair, (private, csr) = authority.load_or_create(store, NOW), authority.make_request()
    issued = pair.sign_agent(csr, "ntp-1", 17, NOW)
    agentstate.write(directory / "agent", Identity("ntp-1", ("gw.example.com:4461",), pair.pem, private, issued))
    turnstile.ask(store, "ntp-1", NOW)
    Operating(store).give("ntp-1", Order(Mode.DRAIN))
    store.put_if(resolver.ENTRY, encode((), {}), None)
    for name in ("token", "tokens"):
        export.write(directory / name, b"0123456789abcdefghijkl\n")
    history = HistoryWriter(around.state / "history.db")
    history.write([], [EventView(0, *each) for each in EVENTS] * 50)
    history.close()
    period = Period(START, NOW)
    return directory, {
        "state/keyring": lambda: KeyStore(store, Seal(None)).load_or_create(NOW),
        "sealed/keyring": lambda: KeyStore(sealed, SEAL).load_or_create(NOW),
        "state/agents": lambda: enrolment.read(store),
        "state/authority": lambda: authority.load_or_create(store, NOW),
        "state/turn": lambda: turnstile.ask(store, "ntp-1", NOW),
        "state/orders": lambda: Operating(store),
        "state/resolved": lambda: resolver.recall(store),
        "state/history.db": lambda: report(around.state / "history.db", period, (1.0,), (), NOW),
        "agent/identity": lambda: agentstate.read(directory / "agent"),
        "ntp-1.keys": lambda: load_cookie_jar(directory / "ntp-1.keys"),
        "token": lambda: read_token(directory / "token"),
        "tokens": lambda: read_tokens(directory / "tokens"),
        "backends.yaml": lambda: config.load(around.config),
        "chain.pem": lambda: load(config.load(around.config)),
        "key.pem": lambda: load(config.load(around.config)),
    }


def _halves(name, whole):
    """Yield what may be left of a file: nothing, any part of it, zeros in the place of all of it or of a part."""
    step = max(1, len(whole) // 64) if name == "state/history.db" else max(1, len(whole) // 800)
    yield from (whole[:length] for length in range(0, len(whole), step))
    yield bytes(len(whole))
    yield from (whole[: len(whole) * eighth // 8].ljust(len(whole), b"\0") for eighth in range(1, 8))


@pytest.mark.parametrize("name", NAMED)
def test_what_is_left_of_a_file_is_refused_by_name_and_stays(name, reads, pki):
    directory, read = reads
    path, taken = directory / name, set()
    whole = path.read_bytes()
    try:
        read[name]()
        for half in _halves(name, whole):
            path.write_bytes(half)
            try:
                read[name]()
            except NtspoolError as error:
                refused = str(error)
            else:
                taken.add(len(half))
                continue
            assert re.search(NAMED[name], refused), refused
            assert path.read_bytes() == half
    finally:
        path.write_bytes(whole)
    # What lacks but the newline at its end is whole; so is a chain of one certificate less, as far as one can see.
    alone = len(pki.chain.read_bytes())
    complete = {len(whole) - 1} | ({alone - 1, alone} if name == "chain.pem" else set())
    assert name in UNSEEN or taken <= complete

"""Whom a worker lets in, with real sockets where the kernel is asked and a clock of the test's own."""

import os
import socket
import time
from ipaddress import ip_address, ip_network

import pytest

from ntspool.net.admission import WAIT_HOLDS, Admission, packed_address, seconds_waited
from ntspool.net.system import listen
from ntspool.pool.access import Access
from ntspool.pool.limits import PrefixLimit, TurnedAway
from ntspool.pool.model import SessionRules
from ntspool.pool.shedding import QueueLimit

CLIENT, OTHER, BALANCER = (ip_address(each).packed for each in ("192.0.2.1", "198.51.100.1", "10.0.0.1"))
TRUSTED = Access(allow=(ip_network("10.0.0.0/8"),))


class Scene:
    """An Admission whose clients have `waited` (seconds) and whose clock stands at `now`."""

    def __init__(self, monkeypatch, **rules):
        self.now, self.waited = 1000.0, 0.0
        self.admission = Admission(lambda: self.now)
        self.admission.adopt(SessionRules(5.0, 10, **rules))
        monkeypatch.setattr("ntspool.net.admission.seconds_waited", lambda _: self.waited)

    def admit(self, packed=CLIENT, room=True, queue=0):
        return self.admission.admit(queue, None, packed, room=room)

    def overload(self):
        self.waited = 0.2
        for _ in range(3):
            if place := self.admit(OTHER):
                self.admission.release(place)
            self.now += 0.15


@pytest.fixture
def scene(monkeypatch):
    return lambda **rules: Scene(monkeypatch, **rules)


def test_who_may_not_come_in_takes_no_place(scene):
    it = scene(access=Access(deny=(ip_network("192.0.2.0/24"),)))
    assert it.admit(CLIENT, room=False) is None
    assert it.admit(OTHER, room=False) is None
    assert it.admit(OTHER)
    assert it.admission.take_counts() == {TurnedAway.DENIED: 1, TurnedAway.SESSIONS: 1}
    assert it.admission.take_counts() == {}


def test_a_place_is_given_back(scene):
    it = scene(per_address=PrefixLimit(sessions=1))
    place = it.admit()
    assert it.admit() is None
    it.admission.release(place)
    assert it.admit()
    assert it.admission.take_counts() == {TurnedAway.ADDRESS_SESSIONS: 1}


def test_in_overload_a_client_is_shed_and_holds_no_place(scene):
    it = scene(queue=QueueLimit(0.1, 0.25), per_address=PrefixLimit(sessions=1))
    it.overload()
    it.admission.take_counts()
    assert it.admit() is None
    it.waited, it.now = 0.0, it.now + 2 * WAIT_HOLDS
    assert it.admit()
    assert it.admission.take_counts() == {TurnedAway.OVERLOAD: 1}


def test_who_is_shed_pays_no_token(scene):
    it = scene(queue=QueueLimit(0.1, 0.25), per_address=PrefixLimit(rate=0.1, burst=1))
    it.overload()
    it.admission.take_counts()
    assert [it.admit() for _ in range(3)] == [None] * 3
    it.waited, it.now = 0.0, it.now + 2 * WAIT_HOLDS
    assert it.admit()
    assert it.admission.take_counts() == {TurnedAway.OVERLOAD: 3}


def test_clients_of_one_moment_are_asked_once_how_long_they_waited(scene):
    it = scene(queue=QueueLimit(0.1, 0.25))
    it.overload()
    assert it.admit() is None
    it.waited, it.now = 0.0, it.now + WAIT_HOLDS / 2
    assert it.admit() is None
    it.now += WAIT_HOLDS * 2
    assert it.admit()


def test_new_rules_hold_at_once_and_what_is_known_stays(scene):
    it = scene()
    places = [it.admit() for _ in range(5)]
    it.admission.adopt(SessionRules(5.0, 10, per_address=PrefixLimit(sessions=5)))
    assert it.admit() is None
    it.admission.release(places[0])
    assert it.admit()


def test_a_balancer_is_under_the_limits_of_all_and_its_clients_under_their_own(scene):
    it = scene(
        per_address=PrefixLimit(sessions=1), access=Access(deny=(ip_network("10.0.0.0/8"),)), proxies=(None, TRUSTED)
    )
    assert [it.admission.admit_balancer(1, None, BALANCER, room=room) for room in (True, False)] == [True, False]
    assert not it.admission.admit_balancer(1, None, OTHER, room=True)
    assert it.admission.admit_behind(CLIENT)
    assert it.admission.admit_behind(CLIENT) is None
    assert it.admission.admit_behind(BALANCER) is None
    assert it.admission.take_counts() == {
        TurnedAway.SESSIONS: 1,
        TurnedAway.UNTRUSTED_PROXY: 1,
        TurnedAway.ADDRESS_SESSIONS: 1,
        TurnedAway.DENIED: 1,
    }


def test_in_overload_balancers_are_shed_too(scene):
    it = scene(queue=QueueLimit(0.1, 0.25), proxies=(TRUSTED,))
    it.overload()
    assert not it.admission.admit_balancer(0, None, BALANCER, room=True)


def test_each_listening_socket_has_a_queue_of_its_own(scene):
    it = scene(queue=QueueLimit(0.1, 0.25))
    for step in range(10):
        it.waited = 0.2
        shed = it.admit() is None
        it.waited = 0.0
        assert it.admit(queue=1), step
        it.now += 0.1
    assert shed


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_kernel_tells_how_long_a_client_has_waited_whatever_it_says_meanwhile(host):
    began = time.monotonic()
    with listen(host, 0) as listening, socket.create_connection(listening.getsockname()[:2]) as client:
        while time.monotonic() < began + 0.1:
            client.send(os.urandom(10))
            time.sleep(0.01)
        accepted, _ = listening.accept()
        with accepted:
            assert 0.09 <= seconds_waited(accepted) <= time.monotonic() - began + 0.02


def test_a_client_that_has_gone_has_waited_for_nothing():
    with socket.socket() as closed:
        pass
    assert seconds_waited(closed) == 0


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_addresses_as_accept_tells_them(peer, address):
    assert packed_address(peer) == ip_address(address).packed

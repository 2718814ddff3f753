"""Deferred answers: the client's keys are exported once, for one backend, and what comes back is its answer."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.pool.cookies import CookieFormat, ServerKey
from ntspool.pool.model import Backend, Client, FixedKey, Selection, Serving, UpAddress
from ntspool.pool.names import Names
from ntspool.pool.negotiation import RANDOM_LENGTH, Answer, Deferred, Negotiator
from ntspool.wire.aead import Aead
from ntspool.wire.exchange import exporter_contexts
from ntspool.wire.messages import Request, Response, error_refusal
from ntspool.wire.poolprotocol import FixedKeyAnswer
from ntspool.wire.secret import Secret
from tests.conftest import V4, V6
from tests.pool.test_negotiation import RANDOM, Exporter, asking, serving

SIV_256, SIV_512, GCM_SIV = Aead.AES_SIV_CMAC_256, Aead.AES_SIV_CMAC_512, Aead.AES_128_GCM_SIV
INTERNAL_ERROR = error_refusal(2)


def own(name, *addresses, aeads=(SIV_256, SIV_512, GCM_SIV), port=123, weight=1, **changes):
    every = tuple(map(ip_address, addresses or ["192.0.2.1", "2001:db8::1"]))
    peer = FixedKey(f"{name}.example", Secret(f"token of {name}".encode()))
    backend = Backend(name, every, port, weight, peer, aeads, "", **changes)
    return Serving(backend, tuple(UpAddress(each, aeads, float(weight)) for each in every), None)


def defer(every, request, exporter=None, client=V4, random=RANDOM, selection=None):
    return Negotiator(every, selection).answer(request, client, exporter or Exporter(), random)


def reply(aead, cookies=(b"cook",) * 8, server=None, port=None):
    return FixedKeyAnswer(Response(aead, cookies, server, port), keep_alive=True)


@pytest.mark.parametrize("aead", Aead)
@pytest.mark.parametrize(("client", "address"), [(V4, "192.0.2.1"), (V6, "2001:db8::1")])
def test_the_backend_is_asked_for_the_clients_keys_and_the_client_gets_what_it_makes(aead, client, address):
    exporter = Exporter()
    deferred = defer([own("a", port=4123)], asking(aead), exporter, client)
    assert isinstance(deferred, Deferred)
    assert not exporter.calls, "not before somebody can be asked"
    asked = deferred.ask()
    contexts = exporter_contexts(aead, compliant_128gcm=True)
    assert exporter.calls == [(each, aead.key_length) for each in contexts]
    request = asked.request
    assert (request.token, request.aead, request.keep_alive, request.protocol) == (Secret(b"token of a"), aead, True, 0)
    assert [request.c2s.reveal(), request.s2c.reveal()] == [Exporter()(each, aead.key_length) for each in contexts]
    answer = asked.answer(reply(aead, server="203.0.113.9", port=1))
    assert answer == Answer(Response(aead, (b"cook",) * 8, address, 4123, aead is GCM_SIV), deferred.choice)


def test_neither_keys_nor_token_stand_in_words():
    asked = defer([own("a")], asking(SIV_256)).ask()
    assert "token of a" not in repr(asked.request)
    assert repr(asked.request.c2s.reveal()) not in repr(asked.request)


def test_the_port_is_told_when_it_is_not_the_usual_one():
    asked = defer([own("a")], asking(SIV_256)).ask()
    assert asked.answer(reply(SIV_256)).message.port is None


def test_gcm_siv_is_for_clients_that_export_it_by_its_own_number():
    found = defer([own("a")], asking(GCM_SIV, SIV_256, compliant_128gcm=False))
    assert found.choice.aead is SIV_256


def test_the_keys_are_exported_once():
    exporter = Exporter()
    deferred = defer([own("a"), own("b")], asking(SIV_256), exporter)
    deferred.ask()
    for again in (deferred.ask, lambda: deferred.elsewhere(RANDOM)):
        with pytest.raises(RuntimeError, match="with a backend already"):
            again()
    assert len(exporter.calls) == 2


def test_who_was_sent_elsewhere_cannot_be_asked_any_more():
    exporter = Exporter()
    first = defer([own("a"), own("b")], asking(SIV_256), exporter)
    second = first.elsewhere(RANDOM)
    assert {first.choice.serving.backend.name, second.choice.serving.backend.name} == {"a", "b"}
    with pytest.raises(RuntimeError):
        first.ask()
    assert not exporter.calls
    assert second.ask().choice is second.choice


def test_a_backend_that_shares_its_keys_can_take_the_place():
    exporter = Exporter()
    shared = serving("b", weight=0)
    found = defer([own("a"), shared], asking(SIV_256), exporter).elsewhere(RANDOM)
    assert isinstance(found, Answer)
    assert (found.choice.serving, len(exporter.calls)) == (shared, 2)


def test_when_nobody_is_left_the_client_gets_an_error():
    exporter = Exporter()
    deferred = defer([own("a"), own("b"), own("c")], asking(SIV_256), exporter)
    found = deferred.elsewhere(RANDOM, frozenset("abc"))
    assert found == Answer(INTERNAL_ERROR, reason="no other backend is UP and serves these AEADs")
    assert not exporter.calls


def test_what_is_tried_is_remembered_along_the_way():
    found = defer([own(name) for name in "abcd"], asking(SIV_256))
    names = []
    while isinstance(found, Deferred):
        names.append(found.choice.serving.backend.name)
        found = found.elsewhere(RANDOM)
    assert sorted(names) == list("abcd")


def test_after_the_keys_were_sent_there_is_an_error_only():
    deferred = defer([own("a")], asking(SIV_256))
    found = deferred.ask().fail("token refused")
    assert found == Answer(INTERNAL_ERROR, deferred.choice, "token refused")


@given(st.sets(st.sampled_from("abcdef")), st.binary(min_size=RANDOM_LENGTH, max_size=RANDOM_LENGTH))
def test_nobody_gets_one_that_is_broken(broken, random):
    every = [own(name) for name in "abcde"] + [serving("f")]
    first = Negotiator(every).answer(asking(SIV_256), V4, Exporter(), random)
    if isinstance(first, Deferred):
        tried = first.choice.serving.backend.name
        second = first.elsewhere(random, frozenset(broken))
        chosen = second.choice and second.choice.serving.backend.name
        assert chosen not in broken | {tried}
        assert (chosen is None) == (broken | {tried} >= set("abcdef"))


# The same ways of choice for both kinds.


def every_kind():
    return [own("a"), serving("b"), own("c"), serving("d")]


def chosen(every, request=None, client=V4, random=RANDOM, **selection):
    found = defer(every, request or asking(SIV_256), client=client, random=random, selection=Selection(**selection))
    return found.choice.serving.backend.name


def test_slots_deal_out_both_kinds():
    names = Names(("pool.example",))
    got = {chosen(every_kind(), client=Client(V4.packed, f"{slot}.pool.example"), names=names) for slot in range(4)}
    assert got == set("abcd")


def test_another_backend_in_a_slot_keeps_the_places_of_the_rest():
    names = Names(("pool.example",))
    client = Client(V4.packed, "0.pool.example")
    every = [own(name) for name in "abcd"]
    found = defer(every, asking(SIV_256), client=client, selection=Selection(names=names))
    first = found.choice.serving.backend.name
    down = [Serving(each.backend, () if each.backend.name == first else each.up, None) for each in every]
    assert found.elsewhere(RANDOM).choice.serving.backend.name == chosen(down, client=client, names=names)


def test_pins_groups_regions_and_denials_hold_for_both_kinds():
    names = Names(("pool.example",), {"a.example": "a"}, {"g.example": ("c",)})
    assert chosen(every_kind(), client=Client(V4.packed, "a.example"), names=names) == "a"
    assert chosen(every_kind(), client=Client(V4.packed, "g.example"), names=names) == "c"
    regional = [own("a", regions=("de",)), serving("b")]
    assert chosen(regional, client=Client(V4.packed, places=("de", "europe"))) == "a"
    two = [own("a", "192.0.2.1"), serving("b", "192.0.2.2")]
    assert chosen(two, asking(SIV_256, denied=("192.0.2.1",))) == "b"
    assert chosen(two, asking(SIV_256, denied=("192.0.2.2",))) == "a"


def test_weights_hold_across_both_kinds():
    every = [own("a", weight=3), serving("b", weight=1)]
    got = [chosen(every, random=bytes([at]) + bytes(RANDOM_LENGTH - 1)) for at in range(256)]
    assert abs(got.count("a") - 192) <= 1


def test_old_ntpsec_clients_get_cookies_whose_length_is_known():
    """They take cookies of one length only, and what a backend makes itself is up to that."""
    request = Request((0,), (15,), aead_critical=False)
    every = [own("a", weight=200), serving("b", cookies=CookieFormat.CHRONY), serving("c", weight=9)]
    assert {chosen(every, request, random=bytes([at]) + bytes(RANDOM_LENGTH - 1)) for at in range(256)} == {"c"}
    alone = [own("a"), Serving(every[2].backend, (), ServerKey(9, Secret(bytes(32))))]
    assert chosen(alone, request) == "a"

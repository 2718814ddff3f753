"""ntspool/pool/balance.py: whom a client gets by its name, its place, its denials and its age, and what it says."""

from collections import Counter
from dataclasses import replace
from ipaddress import ip_address
from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntspool.pool.balance import PLANS, TABLES, Balancer
from ntspool.pool.cookies import CLIENT_AEADS, SERVER_AEAD, CookieFormat, ServerKey, cookie_length
from ntspool.pool.model import Backend, Client, Selection, Serving, UpAddress
from ntspool.pool.names import Names
from ntspool.wire.aead import Aead
from ntspool.wire.messages import Request
from ntspool.wire.secret import Secret
from tests.conftest import V4, V6

SIV_256 = Aead.AES_SIV_CMAC_256
POOL = "pool.example"
NAMES = Names((POOL,), {"one.example": "ntp-1", "idle.example": "ntp-0"}, {"eu.example": ("ntp-1", "ntp-2")})
REQUEST = Request((0,), (15,))


def backend(number, weight=10, regions=(), cookies=CookieFormat.CHRONY, families=(4, 6), aeads=(SIV_256,)):
    texts = {4: f"192.0.2.{number % 250}", 6: f"2001:db8::{number:x}"}
    addresses = tuple(ip_address(texts[family]) for family in families)
    return Backend(f"ntp-{number}", addresses, 123, weight, cookies, aeads, f"ntp-{number}", regions)


def serving(declared, up=True):
    """Return a backend, all UP or all DOWN."""
    addresses = declared.addresses if up else ()
    key = ServerKey(1, Secret(bytes(SERVER_AEAD[declared.cookies].key_length)))
    return Serving(declared, tuple(UpAddress(each, declared.aeads, declared.weight) for each in addresses), key)


def fleet(count, down=(), **fields):
    return [serving(backend(number, **fields), number not in down) for number in range(count)]


def balancer(every, balance="random", names=NAMES):
    return Balancer(every, Selection(balance, names))


def client(name=POOL, like=V4, places=()):
    return replace(like, server_name=name, places=places)


def get(chooser, name=POOL, request=REQUEST, like=V4, places=(), fraction=0.5):
    return chooser.choose(request, client(name, like, places), fraction)


def name_of(choice):
    return choice.serving.backend.name


def everybody(chooser, name=POOL, request=REQUEST, like=V4, places=(), parts=200):
    """Return the names of all that clients can get."""
    return Counter(name_of(get(chooser, name, request, like, places, (part + 0.5) / parts)) for part in range(parts))


def clients(count):
    draws = Random(count)
    return [Client(draws.randbytes(4), POOL) for _ in range(count)]


# Sticky and slots.


def test_sticky_is_by_prefix():
    chooser = balancer(fleet(50), "sticky")
    for packed, others in [
        (bytes((192, 0, 2, 1)), [bytes((192, 0, 2, last)) for last in range(256)]),
        (bytes((0x20, 1, 0xD, 0xB8, 0, 7)) + bytes(10), [bytes((0x20, 1, 0xD, 0xB8, 0, 7)) + b"\x55" * 10]),
    ]:
        expected = name_of(get(chooser, like=Client(packed)))
        assert {name_of(get(chooser, like=Client(other), fraction=0.9)) for other in others} == {expected}
    spread = {name_of(get(chooser, like=Client(bytes((192, 0, third, 1))))) for third in range(256)}
    assert len(spread) > 40


def test_100_000_choices_are_fair_in_four_slots_and_without():
    chooser = balancer(fleet(20), "sticky")
    counts = [Counter() for _ in range(5)]
    for each in clients(20_000):
        got = [name_of(get(chooser, f"{slot}.{POOL}", like=each)) for slot in range(4)]
        assert len(set(got)) == 4
        for counter, name in zip(counts, [*got, name_of(get(chooser, like=each))], strict=True):
            counter[name] += 1
    for counter in counts:
        # 43.8 is exceeded once in a thousand times, with 19 degrees of freedom.
        assert sum((counter[f"ntp-{n}"] - 1000) ** 2 / 1000 for n in range(20)) < 43.8


def test_slots_keep_unequal_weights():
    weights = [10, 20, 40, 30] * 5
    chooser = balancer([serving(backend(number, weight)) for number, weight in enumerate(weights)])
    total, counts = sum(weights), [Counter() for _ in range(2)]
    for each in clients(20_000):
        for slot in range(2):
            counts[slot][int(name_of(get(chooser, f"{slot}.{POOL}", like=each))[4:])] += 1
    shares = [weight / total for weight in weights]
    # Slot 1 has what slot 0 left: exactly the second of successive draws without putting back.
    second = [
        sum(one * share / (1 - one) for index, one in enumerate(shares) if index != number)
        for number, share in enumerate(shares)
    ]
    for counter, expected in zip(counts, (shares, second), strict=True):
        assert sum((counter[n] - 20_000 * share) ** 2 / (20_000 * share) for n, share in enumerate(expected)) < 43.8


@pytest.mark.parametrize("balance", ["random", "sticky"])
@pytest.mark.parametrize("count", [20, 60])
def test_two_gateways_agree_whatever_the_order_of_their_lists(count, balance):
    every = fleet(count, down=(3, 4))
    shuffled = Random(3).sample(every, count)
    one, two = balancer(every, balance), balancer(shuffled, balance)
    names = [f"{slot}.{POOL}" for slot in range(10)] + ([POOL] if balance == "sticky" else [])
    for each, name in product(clients(100), names):
        first, second = get(one, name, like=each), get(two, name, like=each, fraction=0.1)
        assert (first.serving.backend, first.address) == (second.serving.backend, second.address)


@pytest.mark.parametrize("how", ["down", "removed"])
def test_losing_one_of_20_moves_no_client_that_was_not_on_it(how):
    every = fleet(20)
    left = fleet(20, down=(7,)) if how == "down" else [each for each in every if each.backend.name != "ntp-7"]
    before, after = balancer(every, "sticky"), balancer(left, "sticky")
    slots = [f"{slot}.{POOL}" for slot in range(10 if how == "down" else 1)]
    moved = 0
    for each, name in product(clients(3000 // len(slots)), [POOL, *slots]):
        was, now = (name_of(get(chooser, name, like=each)) for chooser in (before, after))
        assert was in (now, "ntp-7")
        moved += now != was
    assert moved > 100


def test_an_address_of_the_same_backend_is_the_clients_for_good():
    addresses = tuple(ip_address(f"192.0.2.{n}") for n in range(4))
    declared = replace(backend(1), addresses=addresses)
    chooser = balancer([serving(declared)], "sticky")
    got = [[get(chooser, like=each, fraction=f).address for f in (0.0, 0.9)] for each in clients(100)]
    assert all(one == two for one, two in got)
    assert {one for one, _ in got} == set(map(str, addresses))


# Names.


def test_a_pin_gives_its_backend_and_says_so():
    chooser = balancer(fleet(5))
    choice = get(chooser, "one.example")
    assert everybody(chooser, "one.example") == {"ntp-1": 200}
    assert choice.why() == {"pin": "ntp-1"}


def test_a_pin_that_is_down_gives_another_and_says_so():
    chooser = balancer(fleet(5, down=(1,)))
    assert everybody(chooser, "one.example").keys() == {"ntp-0", "ntp-2", "ntp-3", "ntp-4"}
    assert get(chooser, "one.example").why() == {"pin": "ntp-1", "given_up": ["name"]}


def test_a_pin_without_the_clients_family_or_aead_gives_another():
    every = [serving(backend(1, families=(4,))), serving(backend(2))]
    assert name_of(get(balancer(every), "one.example", like=V6)) == "ntp-2"
    every = [
        serving(backend(1)),
        serving(backend(2, cookies=CookieFormat.NTPD_RS, aeads=CLIENT_AEADS[CookieFormat.NTPD_RS])),
    ]
    choice = get(balancer(every), "one.example", Request((0,), (17,)))
    assert (name_of(choice), choice.given_up) == ("ntp-2", ("name",))


def test_weight_zero_is_no_obstacle_to_who_asks_by_name():
    every = [serving(backend(0, weight=0)), *fleet(3)[1:]]
    chooser = balancer(every)
    assert everybody(chooser, "idle.example").keys() == {"ntp-0"}
    assert get(chooser, "idle.example").given_up == ()
    assert everybody(chooser).keys() == {"ntp-1", "ntp-2"}


def test_a_group_and_its_slots():
    chooser = balancer(fleet(5))
    assert everybody(chooser, "eu.example").keys() == {"ntp-1", "ntp-2"}
    got = [name_of(get(chooser, f"{slot}.eu.example")) for slot in range(4)]
    assert set(got[:2]) == {"ntp-1", "ntp-2"}
    assert got[2:] == got[:2]
    assert get(chooser, "3.eu.example").why() == {"slot": 3, "group": "eu.example"}


def test_a_group_that_is_down_gives_others():
    chooser = balancer(fleet(5, down=(1, 2)))
    assert everybody(chooser, "eu.example").keys() == {"ntp-0", "ntp-3", "ntp-4"}
    assert get(chooser, "0.eu.example").why() == {"slot": 0, "group": "eu.example", "given_up": ["name"]}


def test_a_name_that_is_not_ours_is_the_pools():
    assert everybody(balancer(fleet(5)), "elsewhere.example") == everybody(balancer(fleet(5)))
    assert get(balancer(fleet(5)), "3.elsewhere.example").why() == {}


# Denials.


@pytest.mark.parametrize("name", [POOL, f"0.{POOL}", "eu.example", "elsewhere.example"])
@pytest.mark.parametrize("balance", ["random", "sticky"])
def test_denied_by_address_or_by_name(name, balance):
    chooser = balancer(fleet(5), balance)
    for denied in [("ntp-1",), ("NTP-1",), ("192.0.2.1",), ("2001:db8:0::1",), ("ntp-1", "unknown", "192.0.2.77")]:
        got = everybody(chooser, name, replace(REQUEST, denied=denied))
        assert got
        assert "ntp-1" not in got


def test_a_client_that_denies_what_it_got_comes_to_know_all():
    for balance in ("random", "sticky"):
        chooser, denied = balancer(fleet(40), balance), ()
        for _ in range(40):
            choice = get(chooser, request=replace(REQUEST, denied=denied))
            assert str(choice.address) not in denied
            assert choice.given_up == ()
            denied += (str(choice.address),)
        assert get(chooser, request=replace(REQUEST, denied=denied)).given_up == ("denial",)


def test_all_denied_is_none_denied():
    chooser = balancer(fleet(3, down=(2,)))
    request = replace(REQUEST, denied=("ntp-0", "ntp-1"))
    assert everybody(chooser, request=request) == everybody(chooser)
    assert get(chooser, request=request).why() == {"given_up": ["denial"]}


def test_a_denial_counts_more_than_a_name_and_a_wish():
    chooser = balancer(fleet(5))
    assert "ntp-1" not in everybody(chooser, "one.example", replace(REQUEST, denied=("ntp-1",)))
    assert everybody(chooser, "eu.example", replace(REQUEST, denied=("ntp-1",))).keys() == {"ntp-2"}
    assert "ntp-1" not in everybody(chooser, request=replace(REQUEST, server="ntp-1", denied=("ntp-1",)))
    both = replace(REQUEST, denied=("ntp-1", "ntp-2"))
    assert get(chooser, "eu.example", both).given_up == ("name",)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=12),
    st.sets(st.integers(0, 11)),
    st.floats(0, 1, exclude_max=True),
)
@settings(deadline=None)
def test_shares_of_those_that_are_not_denied(weights, denied, fraction):
    every = [serving(backend(number, weight)) for number, weight in enumerate(weights)]
    request = replace(REQUEST, denied=tuple(f"ntp-{number}" for number in denied))
    weighted = [each for each in every if each.backend.weight] or every
    left = [each for each in weighted if int(each.backend.name[4:]) not in denied]
    expected = balancer(left or weighted)
    got, alone = get(balancer(every), request=request, fraction=fraction), get(expected, fraction=fraction)
    # At an edge between two, rounding may give it to either.
    near = {name_of(get(expected, fraction=min(max(fraction + step, 0), 1 - 2**-53))) for step in (-1e-9, 1e-9)}
    assert name_of(got) in {name_of(alone), *near}


# Regions.

PLACED = [
    serving(backend(1, regions=("de", "europe"))),
    serving(backend(2, regions=("fr", "europe"))),
    serving(backend(3, regions=("us", "north-america"))),
    serving(backend(4)),
]


@pytest.mark.parametrize("balance", ["random", "sticky"])
@pytest.mark.parametrize(
    ("places", "expected", "region"),
    [
        (("de", "europe"), {1}, "de"),
        (("it", "europe"), {1, 2}, "europe"),
        (("europe",), {1, 2}, "europe"),
        (("jp", "asia"), {1, 2, 3, 4}, ""),
        ((), {1, 2, 3, 4}, ""),
    ],
)
def test_country_then_continent_then_all(balance, places, expected, region):
    chooser = balancer(PLACED, balance)
    got = {name_of(get(chooser, like=each, places=places, fraction=n / 100)) for n, each in enumerate(clients(100))}
    assert got == {f"ntp-{number}" for number in expected}
    assert get(chooser, places=places).region == region


def test_a_region_that_is_down_gives_way_to_the_next():
    down = [serving(each.backend, up=False) for each in PLACED]
    german = ("de", "europe")
    assert get(balancer([down[0], *PLACED[1:]]), places=german).why() == {"region": "europe"}
    assert everybody(balancer([*down[:2], *PLACED[2:]]), places=german).keys() == {"ntp-3", "ntp-4"}
    assert get(balancer([*down[:3], PLACED[3]]), places=german).why() == {}


def test_slots_and_denials_go_on_from_country_to_continent_to_all():
    chooser = balancer(PLACED)
    for each in clients(50):
        got = [name_of(get(chooser, f"{slot}.{POOL}", like=each, places=("de", "europe"))) for slot in range(4)]
        assert got[:2] == ["ntp-1", "ntp-2"]
        assert set(got[2:]) == {"ntp-3", "ntp-4"}
    request = replace(REQUEST, denied=("ntp-1",))
    assert everybody(chooser, request=request, places=("de", "europe")).keys() == {"ntp-2"}


def test_a_group_counts_more_than_a_region():
    names = replace(NAMES, groups={"eu.example": ("ntp-2", "ntp-3")})
    assert everybody(balancer(PLACED, names=names), "eu.example", places=("de", "europe")).keys() == {"ntp-2"}


# NTPsec before 1.2.5.

OLD_NTPSEC = Request((0,), (15,), aead_critical=False)
RUST = {"cookies": CookieFormat.NTPD_RS, "aeads": CLIENT_AEADS[CookieFormat.NTPD_RS]}
MIXED = [serving(backend(1, weight=30)), serving(backend(2, weight=20, **RUST)), serving(backend(3, weight=20, **RUST))]


def test_lengths_differ_between_chrony_and_the_others():
    lengths = {cookies: cookie_length(cookies, SIV_256) for cookies in CookieFormat}
    assert lengths.pop(CookieFormat.CHRONY) == 100
    assert set(lengths.values()) == {104}


@pytest.mark.parametrize("like", [V4, V6])
def test_old_ntpsec_stays_with_the_cookie_length_of_most_weight(like):
    chooser = balancer(MIXED)
    assert everybody(chooser, "", OLD_NTPSEC, like).keys() == {"ntp-2", "ntp-3"}
    one_down = balancer([MIXED[0], serving(MIXED[1].backend, up=False), MIXED[2]])
    assert everybody(one_down, "", OLD_NTPSEC, like).keys() == {"ntp-3"}
    both_down = balancer([MIXED[0], *(serving(each.backend, up=False) for each in MIXED[1:])])
    assert everybody(both_down, "", OLD_NTPSEC, like).keys() == {"ntp-1"}
    assert get(both_down, "", OLD_NTPSEC, like).why() == {"given_up": ["cookie_length"]}


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        pytest.param(REQUEST, "", id="chrony by address"),
        pytest.param(OLD_NTPSEC, POOL, id="NTPsec 1.2.5"),
        pytest.param(replace(OLD_NTPSEC, aeads=(17, 15)), "", id="ntpd-rs by address"),
        pytest.param(replace(OLD_NTPSEC, compliant_128gcm=True), "", id="chrony's record"),
    ],
)
def test_all_others_get_any_cookie_length(request_, name):
    assert everybody(balancer(MIXED), name, request_).keys() == {"ntp-1", "ntp-2", "ntp-3"}


def test_the_length_is_one_of_the_clients_family():
    every = [serving(backend(1, weight=90)), serving(backend(2, families=(6,), **RUST))]
    assert everybody(balancer(every), "", OLD_NTPSEC, V4).keys() == {"ntp-1"}
    every = [serving(backend(1, weight=90, families=(4,))), serving(backend(2, **RUST))]
    assert everybody(balancer(every), "", OLD_NTPSEC, V6).keys() == {"ntp-2"}
    assert get(balancer(every), "", OLD_NTPSEC, V6).given_up == ()


def test_equal_weights_of_two_lengths_decide_always_alike():
    every = [serving(backend(1)), serving(backend(2, **RUST))]
    for each in (every, every[::-1]):
        assert everybody(balancer(each), "", OLD_NTPSEC).keys() == {"ntp-1"}


# Whatever comes.


@given(
    st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.sampled_from([(4,), (6,), (4, 6)])), max_size=8),
    st.sampled_from([POOL, "", "one.example", "idle.example", "eu.example", f"0.{POOL}", f"7.{POOL}", "9.eu.example"]),
    st.sampled_from([V4, V6]),
    st.sampled_from(["random", "sticky"]),
    st.builds(
        Request,
        st.just((0,)),
        st.just((15,)),
        server=st.none() | st.sampled_from(["ntp-0", "192.0.2.1", "x"]),
        port=st.none() | st.sampled_from([123, 9]),
        denied=st.lists(st.sampled_from(["ntp-0", "ntp-1", "192.0.2.2", "x"]), max_size=4).map(tuple),
        aead_critical=st.booleans(),
    ),
    st.lists(st.sampled_from(["de", "europe", "x"]), max_size=2, unique=True),
)
@settings(max_examples=300, deadline=None)
def test_nobody_is_left_with_nothing_while_somebody_can_serve_it(spec, name, like, balance, request_, places):
    every = [
        serving(backend(number, weight, regions=("de",) if number % 2 else (), families=families), up)
        for number, (weight, up, families) in enumerate(spec)
    ]
    choice = get(balancer(every, balance), name, request_, like, tuple(places))
    able = [each for each in every if any(up.address.version == like.family for up in each.up)]
    assert (choice is None) == (not able)
    if choice is not None:
        assert choice.serving in able
        assert ip_address(choice.address).version == like.family
        assert choice.why() is not None


@pytest.mark.parametrize("name", [POOL, f"3.{POOL}", "one.example", "eu.example"])
def test_one_backend_is_everybodys(name):
    for denied in ((), ("ntp-1",)):
        chooser = balancer([serving(backend(1))])
        assert everybody(chooser, name, replace(REQUEST, denied=denied)).keys() == {"ntp-1"}


def test_no_client_can_make_the_tables_grow():
    names = replace(NAMES, groups={f"g{n}.example": ("ntp-1",) for n in range(TABLES + 50)})
    chooser = balancer(fleet(5), names=names)
    for number, name in enumerate(names.groups):
        get(chooser, name, replace(REQUEST, server=f"ntp-{number % 5}", port=number))
    assert len(chooser._tables) <= TABLES


def test_no_client_can_make_the_plans_grow():
    chooser = balancer(fleet(2))
    for number in range(PLANS + 50):
        assert get(chooser, f"name-{number}.example", REQUEST)
    assert len(chooser._plans) <= PLANS


def test_a_backend_that_was_given_weight_since_can_be_had():
    idle = serving(backend(1, weight=0))
    woken = replace(idle, up=tuple(replace(up, weight=5) for up in idle.up))
    chooser = balancer([woken, *fleet(3, down=(0, 1, 2))])
    for name in (POOL, f"0.{POOL}", f"5.{POOL}"):
        assert name_of(get(chooser, name)) == "ntp-1"

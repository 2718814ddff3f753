"""The attacks that a gateway must bear, each from so many connections, and what they may cost it."""

from dataclasses import dataclass

from ntspool.pool.limits import TurnedAway

EVERYWHERE = "everywhere"


@dataclass(frozen=True)
class Scenario:
    """`attack` is said on `window` connections at once, opened at most `rate` a second, see attack.py.

    They come from `everywhere`, a network each, or from one network, to the port that wants a balancer's header if
    they are `proxied`. `turned_away` are reasons of which at least one must be counted, and `memory` is how many
    megabytes a worker may take meanwhile.
    """

    name: str
    attack: str
    everywhere: bool = True
    window: int = 500
    rate: float = 2000
    pace: float = 0.0
    proxied: bool = False
    turned_away: frozenset[TurnedAway] = frozenset()
    memory: int = 40


def _turned_away(*why: TurnedAway) -> frozenset[TurnedAway]:
    return frozenset(why)


_NETWORK = _turned_away(TurnedAway.NETWORK_SESSIONS, TurnedAway.NETWORK_RATE)
_PROXY = _turned_away(TurnedAway.UNTRUSTED_PROXY)

SCENARIOS = (
    Scenario("silence from one network", "silence", everywhere=False, window=10_000, rate=10_000, turned_away=_NETWORK),
    Scenario("silence from everywhere", "silence", window=12_000, rate=10_000),
    Scenario("half a ClientHello", "half_a_hello", window=12_000, rate=10_000),
    Scenario("a ClientHello byte by byte", "trickled_hello", window=12_000, rate=10_000, pace=0.5),
    Scenario("nearly 16 KiB of a ClientHello", "nearly_a_long_hello", window=12_000, rate=10_000, memory=250),
    Scenario("half-open handshakes", "half_open", window=2000, rate=600, memory=250),
    Scenario("garbage", "garbage"),
    Scenario("oversized ClientHellos", "oversized_hello"),
    Scenario("ClientHellos in small records", "hello_in_small_records", rate=300),
    Scenario("names and ALPNs", "names_and_protocols", rate=400),
    Scenario("other parameters, early data", "other_parameters", rate=400),
    Scenario("renegotiation", "renegotiation", rate=200),
    Scenario("key updates", "key_updates", window=300, rate=150),
    Scenario("key updates, not reading", "key_updates_after_the_request", window=300, rate=150),
    Scenario("key updates and crumbs", "key_updates_and_crumbs", window=300, rate=150),
    Scenario("empty records", "empty_records", window=300, rate=150),
    Scenario("ChangeCipherSpecs", "change_cipher_specs_first"),
    Scenario("unasked messages", "unasked_messages", window=300, rate=150),
    Scenario("clients that never read", "never_reads", window=300, rate=150),
    Scenario("requests without end", "endless_requests", window=300, rate=150),
    Scenario("a record a second", "one_record_at_a_time", window=600, rate=150, pace=1.0),
    Scenario("talks on", "talks_on", window=300, rate=150),
    Scenario("PROXY headers", "proxy_headers", proxied=True, rate=5000, pace=0.05, turned_away=_PROXY),
    Scenario("PROXY headers where none belongs", "proxy_headers", rate=1000, pace=0.05),
    Scenario("a flood from one network", "garbage", everywhere=False, rate=20_000, turned_away=_NETWORK),
    Scenario("a flood from everywhere", "garbage", window=100, rate=20_000),
)
"""One after the other, with the default limits."""

TOGETHER = (
    Scenario(
        "before TLS",
        "silence,half_a_hello,trickled_hello,nearly_a_long_hello",
        window=400,
        # A quarter of what 300 places can change hands at when nobody says a ClientHello: a busy machine has stalls.
        rate=300,
        pace=0.02,
        turned_away=_turned_away(TurnedAway.SESSIONS),
    ),
    Scenario(
        "in the handshake",
        "half_open,hello_in_small_records,names_and_protocols,other_parameters,garbage,oversized_hello,"
        "change_cipher_specs_first",
        window=150,
        rate=150,
    ),
    Scenario(
        "in TLS",
        "renegotiation,key_updates,key_updates_after_the_request,key_updates_and_crumbs,empty_records,unasked_messages,"
        "never_reads,endless_requests,one_record_at_a_time,talks_on",
        window=60,
        rate=40,
    ),
    Scenario("instead of a header", "proxy_headers,garbage", proxied=True, rate=1000, pace=0.02, turned_away=_PROXY),
)
"""The same attacks, some at once and with fewer connections, for a gateway with 300 places."""

"""Verdicts on TCP and TLS (RFC 8915 section 3)."""

from collections.abc import Iterator, Sequence

from ntspool.pool.exam.conversation import Conversation, Ending, Kind, Reached
from ntspool.pool.exam.model import AddressFacts, Finding, TlsFacts, Verdict

_ALPN = "ntske/1"
_RFC = "RFC 8915 3"
_ALPN_RFC = "RFC 8915 4"
_LIFE = "RFC 7301 3.2"


def address_facts(seen: Conversation) -> AddressFacts:
    """Return a row of the table of addresses."""
    family = 6 if ":" in seen.address else 4
    return AddressFacts(seen.address, family, seen.connect, seen.failure if seen.connect is None else "")


def tls_facts(seen: Conversation) -> TlsFacts:
    """Return a row of the table of handshakes; there must have been one."""
    return TlsFacts(seen.address, seen.version, seen.cipher, seen.group, seen.alpn, seen.handshake or 0.0)


def judge_connection(seen: Conversation) -> Iterator[Finding]:
    """Yield the verdicts on TCP and TLS as an ordinary client has them at one address."""
    if seen.connect is None:
        verdict = Verdict.SKIP if seen.unroutable else Verdict.FAIL
        yield Finding("tcp.connect", verdict, f"no connection: {seen.failure}", _ALPN_RFC, seen.address)
        return
    yield Finding("tcp.connect", Verdict.PASS, f"connected in {seen.connect * 1000:.1f} ms", _ALPN_RFC, seen.address)
    if seen.reached < Reached.TLS:
        # chronyd accepts everybody, then closes on whom it does not allow and who comes too often.
        hint = " at once: are we allowed in, or too fast?" if seen.ending in {Ending.CLOSED, Ending.RESET} else ""
        yield Finding("tls.handshake", Verdict.FAIL, f"no TLS 1.3: {seen.failure}{hint}", _RFC, seen.address)
        return
    group = f", {seen.group}" if seen.group else ""
    text = f"{seen.version}, {seen.cipher}{group} in {(seen.handshake or 0) * 1000:.1f} ms"
    yield Finding("tls.handshake", Verdict.PASS, text, _RFC, seen.address)
    if seen.alpn == _ALPN:
        yield Finding("tls.alpn", Verdict.PASS, f"the server chooses ALPN {_ALPN}", _ALPN_RFC, seen.address)
    else:
        text = f"the server chooses {seen.alpn or 'no protocol'} by ALPN, not {_ALPN}: every client refuses it"
        yield Finding("tls.alpn", Verdict.FAIL, text, _ALPN_RFC, seen.address)


def judge_tls12(seen: Conversation) -> Finding:
    """Return the verdict on what became of a handshake that offers TLS 1.2 only."""
    return _must_not_stand("tls.version", "TLS 1.2", seen)


def _must_not_stand(name: str, what: str, seen: Conversation) -> Finding:
    if seen.reached is Reached.TLS:
        return Finding(name, Verdict.FAIL, f"the server speaks {what}, which NTS forbids", _RFC, seen.address)
    if seen.reached is Reached.NOTHING:
        return Finding(name, Verdict.SKIP, f"not tried: {seen.failure}", _RFC, seen.address)
    if seen.ending is Ending.OPEN:
        text = f"the server neither refuses {what} nor ends the connection: {seen.failure}"
        return Finding(name, Verdict.FAIL, text, _RFC, seen.address)
    return Finding(name, Verdict.PASS, f"the server refuses {what}", _RFC, seen.address)


def judge_no_alpn(seen: Conversation) -> Finding:
    """Return the verdict on a session without ALPN, which the RFC leaves to servers."""
    name = "tls.no-alpn"
    if seen.outcome.kind is Kind.COOKIES:
        text = "the server serves clients that send no ALPN, who do not say that they speak NTS-KE"
        return Finding(name, Verdict.NOTE, text, _ALPN_RFC, seen.address)
    return _refused(name, "a client without ALPN", seen)


def judge_wrong_alpn(seen: Conversation) -> Finding:
    """Return the verdict on a session whose client offers another protocol only."""
    name = "tls.wrong-alpn"
    if seen.outcome.kind is Kind.COOKIES:
        text = "the server serves clients whose ALPN offers another protocol only"
        return Finding(name, Verdict.NOTE, text, _LIFE, seen.address, deviation=True)
    return _refused(name, "a client that offers another protocol by ALPN", seen)


def _refused(name: str, whom: str, seen: Conversation) -> Finding:
    if seen.reached is Reached.NOTHING or (seen.reached is Reached.TCP and seen.ending is not Ending.ALERT):
        return Finding(name, Verdict.SKIP, f"not tried: {seen.failure}", _ALPN_RFC, seen.address)
    if seen.outcome.kind is Kind.HANGS:
        text = f"{whom}: the server {seen.outcome}"
        return Finding(name, Verdict.NOTE, text, _ALPN_RFC, seen.address)
    how = "in the handshake" if seen.reached is Reached.TCP or seen.ending is Ending.ALERT else "after the handshake"
    return Finding(name, Verdict.PASS, f"the server refuses {whom} {how}", _ALPN_RFC, seen.address)


def judge_alike(names: Sequence[tuple[str, tuple[str, ...]]]) -> Finding | None:
    """Return the verdict on whether the certificates of all addresses have the same names; None for fewer than two."""
    if len(names) < 2:
        return None
    if len({frozenset(each) for _, each in names}) == 1:
        text = f"the certificates at all {len(names)} addresses have the same names"
        return Finding("tls.same-names", Verdict.PASS, text)
    first = names[0]
    other = next(each for each in names if frozenset(each[1]) != frozenset(first[1]))
    text = f"certificates differ: {first[0]} has {', '.join(first[1])}; {other[0]} has {', '.join(other[1])}"
    return Finding("tls.same-names", Verdict.NOTE, text)

"""Verdicts on authenticated NTP (RFC 8915 section 5), and on whether the servers' clocks agree."""

from collections import Counter
from collections.abc import Iterator, Sequence

from ntspool.pool.causes import Cause, Failure
from ntspool.pool.exam.model import Agreement, Finding, Verdict
from ntspool.pool.exam.volleys import FIRST, Purpose, Reply, Visit, worth
from ntspool.pool.nts import MAXIMUM_PLACEHOLDERS
from ntspool.pool.sample import Limits, judge
from ntspool.pool.vote import intersect, interval

TOLERANCE = 0.1
"""Seconds that two servers may differ by beyond the error that both admit, as gateways allow by default."""

_MAJORITY = 3
"""Voters without which nobody can say who is wrong."""

_RFC = "RFC 8915 5.7"
_LIMITED = "the server limits how often it answers"


def judge_visit(visit: Visit) -> Iterator[Finding]:
    """Yield the verdicts on one NTP server."""
    yield _answered(visit)
    if visit.best is None:
        return
    yield _synchronised(visit, visit.best)
    yield _cookies_back(visit)
    if (placeholders := _placeholders(visit)) is not None:
        yield placeholders
    yield _size(visit)
    yield from _spent(visit)
    for purpose, name in ((Purpose.DAMAGED, "ntp.damaged-cookie"), (Purpose.FORGED, "ntp.forged-request")):
        yield from _refused(visit, purpose, name)


def _find(visit: Visit, name: str, verdict: Verdict, text: str, rfc: str = _RFC) -> Finding:
    return Finding(name, verdict, text, rfc, str(visit.target))


def _answered(visit: Visit) -> Finding:
    replies, failures = visit.replies(*FIRST), visit.failures(*FIRST)
    many = len(replies) + len(failures)
    text = f"{len(replies)} of {many} cookies were answered with authenticated time"
    if not failures:
        return _find(visit, "ntp.answers", Verdict.PASS, text)
    causes = Counter(map(str, failures))
    text += "".join(f"; {number} x {cause}" for cause, number in causes.items())
    if any(each.evident for each in failures) or not replies:
        limited = all(each.cause is Cause.KISS and not each.evident for each in failures)
        return _find(visit, "ntp.answers", Verdict.SKIP if limited else Verdict.FAIL, text)
    return _find(visit, "ntp.answers", Verdict.NOTE, f"{text}: packets got lost, or {_LIMITED}")


def _synchronised(visit: Visit, best: Reply) -> Finding:
    found, header = best.sample, best.header
    if (failure := judge(header, found, Limits())) is not None:
        return _find(visit, "ntp.time", Verdict.FAIL, f"clients take no time from it: {failure}", "RFC 5905 11.2.1")
    text = (
        f"stratum {header.stratum}, offset {found.offset * 1e3:+.3f} ms to within {found.distance * 1e3:.3f} ms,"
        f" delay {found.delay * 1e3:.3f} ms"
    )
    if header.leap:
        return _find(visit, "ntp.time", Verdict.NOTE, f"{text}; it announces a leap second", "RFC 5905 7.3")
    return _find(visit, "ntp.time", Verdict.PASS, text, "RFC 5905 11.2.1")


def _cookies_back(visit: Visit) -> Finding:
    counts = {len(each.cookies) for each in visit.replies(Purpose.COOKIE, Purpose.RETURNED)}
    if not counts or counts == {1}:
        return _find(visit, "ntp.new-cookie", Verdict.PASS, "a new cookie for each that is spent")
    if 0 in counts:
        text = "replies without a new cookie: clients have to come back for a key exchange every few minutes"
        return _find(visit, "ntp.new-cookie", Verdict.FAIL, text)
    return _find(visit, "ntp.new-cookie", Verdict.FAIL, f"{max(counts)} new cookies for one that is spent")


def _placeholders(visit: Visit) -> Finding | None:
    name, most = "ntp.placeholders", 1 + MAXIMUM_PLACEHOLDERS
    for reply in visit.replies(Purpose.PLACEHOLDERS):
        many = len(reply.cookies)
        text = f"{many} new cookies for one and {MAXIMUM_PLACEHOLDERS} placeholders"
        if many > most:
            return _find(visit, name, Verdict.FAIL, f"{text}: more than were asked for")
        return _find(visit, name, Verdict.PASS if many == most else Verdict.NOTE, text)
    return None


def _size(visit: Visit) -> Finding:
    longest = max(visit.replies(), key=lambda reply: reply.reply_length - reply.request_length)
    text = f"a reply of {longest.reply_length} bytes to a request of {longest.request_length}"
    if longest.reply_length > longest.request_length:
        text += ": whoever forges the sender's address can flood others by this server"
        return _find(visit, "ntp.reply-size", Verdict.FAIL, text, "RFC 8915 8.4")
    return _find(visit, "ntp.reply-size", Verdict.PASS, text, "RFC 8915 8.4")


def _spent(visit: Visit) -> Iterator[Finding]:
    if visit.replies(Purpose.RETURNED):
        yield _find(visit, "ntp.returned-cookie", Verdict.PASS, "a cookie that came by NTP is as good as the first")
    for failure in visit.failures(Purpose.RETURNED):
        verdict = Verdict.FAIL if failure.evident else Verdict.SKIP
        yield _find(visit, "ntp.returned-cookie", verdict, f"a cookie that came by NTP: {failure}")
    if visit.replies(Purpose.REUSED):
        text = "a cookie that is spent again is answered: servers keep no record, and clients know better"
        yield _find(visit, "ntp.spent-cookie", Verdict.PASS, text)
    for failure in visit.failures(Purpose.REUSED):
        yield _find(visit, "ntp.spent-cookie", Verdict.NOTE, f"a cookie that is spent again is not answered: {failure}")


def _refused(visit: Visit, purpose: Purpose, name: str) -> Iterator[Finding]:
    for _ in visit.replies(purpose):
        yield _find(visit, name, Verdict.FAIL, f"{purpose} is answered with time: the server verifies nothing")
    for failure in visit.failures(purpose):
        yield _find(visit, name, *_refusal(purpose, failure))


def _refusal(purpose: Purpose, failure: Failure) -> tuple[Verdict, str]:
    if failure.cause is Cause.NAK:
        return Verdict.PASS, f"{purpose} is answered with an NTS NAK"
    if failure.cause is Cause.UNPROTECTED:
        return Verdict.FAIL, f"{purpose} is answered with time that nothing protects"
    return Verdict.NOTE, f"{purpose} is not answered with an NTS NAK, as a server should: {failure}"


def agree(visits: Sequence[Visit]) -> Agreement | None:
    """Return what the servers' clocks have in common; None if there are fewer than two that say anything."""
    found = worth(visits)
    if len(found) < 2:
        return None
    votes = [interval(each.offset, each.distance, TOLERANCE) for _, each in found]
    common = intersect(votes)
    offsets = [each.offset for _, each in found]
    outside = [target for (target, _), vote in zip(found, votes, strict=True) if common and not vote.meets(common)]
    spread = max(offsets) - min(offsets)
    low, high = (common.low, common.high) if common else (None, None)
    return Agreement(len(found), low, high, tuple(map(str, outside)), spread)


def judge_agreement(agreement: Agreement) -> Iterator[Finding]:
    """Yield the verdicts on what the servers' clocks have in common."""
    text = f"{agreement.voters} servers, at most {agreement.spread * 1e3:.3f} ms apart"
    if agreement.low is None or agreement.high is None:
        verdict = Verdict.FAIL if agreement.voters >= _MAJORITY else Verdict.NOTE
        yield Finding("ntp.agreement", verdict, f"no majority agrees on the time: {text}", "RFC 5905 11.2.1")
        return
    if agreement.falsetickers:
        wrong = ", ".join(agreement.falsetickers)
        yield Finding(
            "ntp.agreement", Verdict.FAIL, f"{text}; the majority says that these are wrong: {wrong}", "RFC 5905 11.2.1"
        )
    else:
        yield Finding("ntp.agreement", Verdict.PASS, f"the clocks agree: {text}", "RFC 5905 11.2.1")
    if not agreement.low <= 0 <= agreement.high:
        off = (agreement.low + agreement.high) / 2
        yield Finding(
            "ntp.own-clock", Verdict.NOTE, f"the majority says that this machine's clock is off by {-off:+.3f} s"
        )

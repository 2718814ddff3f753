"""The sessions that an examination is made of, each one connection to one address."""

from collections.abc import Sequence

from ntspool.net.exam.conversing import Greeting
from ntspool.net.exam.course import Course
from ntspool.net.exam.visiting import targets, try_keys
from ntspool.pool.exam.aeads import Trial
from ntspool.pool.exam.conversation import Conversation
from ntspool.pool.exam.odd import ORDINARY
from ntspool.wire.aead import Aead
from ntspool.wire.messages import Request
from ntspool.wire.records import PROTOCOL_NTPV4

_ANOTHER_ALPN = b"http/1.1"

_OFFERS = (
    (Aead.AES_SIV_CMAC_512, False),
    (Aead.AES_128_GCM_SIV, True),
    (Aead.AES_128_GCM_SIV, False),
)
"""What is offered beside AES-SIV-CMAC-256, each alone, and whether with chrony's record 1024."""


async def ordinary(course: Course, address: str, name: str) -> Conversation:
    """Ask for what ordinary clients ask for, and try the certificates against the authorities."""
    greeting = Greeting(name, verify=True, ca=course.plan.ca)
    return await course.converse(address, greeting, (ORDINARY,), f"asking {name} at {address} for cookies")


async def tls12(course: Course, address: str, name: str) -> Conversation:
    """Offer TLS 1.2 only."""
    what = f"offering TLS 1.2 to {address}"
    return await course.converse(address, Greeting(name, tls12=True), (ORDINARY,), what)


async def without_alpn(course: Course, address: str, name: str) -> Conversation:
    """Offer no application protocol."""
    return await course.converse(address, Greeting(name, alpn=()), (ORDINARY,), "sending no ALPN")


async def with_another_alpn(course: Course, address: str, name: str) -> Conversation:
    """Offer another application protocol only."""
    greeting = Greeting(name, alpn=(_ANOTHER_ALPN,))
    return await course.converse(address, greeting, (ORDINARY,), "sending another ALPN")


async def say(course: Course, address: str, name: str, pieces: Sequence[bytes], what: str) -> Conversation:
    """Send `pieces`, whatever they are."""
    return await course.converse(address, Greeting(name), pieces, f"sending {what}")


async def trials(course: Course, first: Conversation) -> list[Trial]:
    """Offer each AEAD algorithm alone and spend a cookie; `first` was the session that offered the mandatory one.

    None of its cookies is spent: they are for a visit.
    """
    found = [Trial(Aead.AES_SIV_CMAC_256, announced=False, seen=first)]
    for aead, announced in _OFFERS:
        request = Request((PROTOCOL_NTPV4,), (aead,), compliant_128gcm=announced)
        what = f"offering {aead.label} only"
        seen = await course.converse(first.address, Greeting(first.name), (request.encode(),), what)
        found.append(await _with_ntp(course, Trial(aead, announced, seen)))
    return found


async def _with_ntp(course: Course, trial: Trial) -> Trial:
    seen = trial.seen
    if not (trial.chosen and seen.keys):
        return trial
    where = await targets(course, seen)
    if not where:
        return trial
    results = await try_keys(course, where[0], seen.keys, seen.answer.cookies)
    return Trial(trial.aead, trial.announced, seen, results)

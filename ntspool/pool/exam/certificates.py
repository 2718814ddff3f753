"""Verdicts on a server's certificates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from ntspool.pool.exam.conversation import Conversation
from ntspool.pool.exam.model import CertificateFacts, Finding, Verdict
from ntspool.pool.exam.printable import printable
from ntspool.pool.unreadable import UNREADABLE

DAY = 86400.0

_SOON = 30.0
"""Days: what is left when short of this, and of a sixth of the certificate's life, should have been renewed."""

_RFC = "RFC 8915 3"
_NAMES_RFC = "RFC 8915 3, RFC 6125"


def certificate_facts(seen: Conversation, now: float) -> CertificateFacts | None:
    """Return what a server's chain says at `now`, Unix seconds; None for one without a leaf that can be read."""
    try:
        chain = [x509.load_der_x509_certificate(each) for each in seen.chain]
        leaf = chain[0]
        return CertificateFacts(
            seen.address,
            printable(leaf.subject.rfc4514_string()),
            _names(leaf),
            printable(leaf.issuer.rfc4514_string()),
            tuple(printable(each.subject.rfc4514_string()) for each in chain),
            max(each.not_valid_before_utc.timestamp() for each in chain),
            (end := _end(chain, now, trusted=not seen.trouble)),
            (end - now) / DAY,
            _key(leaf),
            seen.trouble,
        )
    except (*UNREADABLE, IndexError):
        return None


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a certificate has to cover, whether it does, and whether one that nobody should trust will do for now."""

    name: str
    covered: bool
    insecure: bool


def judge_certificate(facts: CertificateFacts, expected: Expectation) -> Iterator[Finding]:
    """Yield the verdicts on the certificate at one address."""
    yield _trust(facts, expected)
    yield _name(facts, expected)
    yield _life(facts)
    yield _order(facts)


def _trust(facts: CertificateFacts, expected: Expectation) -> Finding:
    if not facts.trouble:
        text = f"trusted, issued by {facts.issuer}, certificates sent: {len(facts.chain)}, key {facts.key}"
        return Finding("tls.chain", Verdict.PASS, text, _RFC, facts.address)
    text = "; ".join(facts.trouble)
    if any(subject == facts.issuer for subject in facts.chain[1:]) or facts.issuer == facts.subject:
        hint = ""
    else:
        hint = "; the server sends no certificate of its issuer"
    verdict = Verdict.NOTE if expected.insecure else Verdict.FAIL
    return Finding("tls.chain", verdict, f"not trusted: {text}{hint}", _RFC, facts.address)


def _name(facts: CertificateFacts, expected: Expectation) -> Finding:
    names = ", ".join(facts.names) or "no name at all"
    if expected.covered:
        text = f"the certificate covers {expected.name}: {names}"
        return Finding("tls.name", Verdict.PASS, text, _NAMES_RFC, facts.address)
    verdict = Verdict.NOTE if expected.insecure else Verdict.FAIL
    text = f"the certificate is not for {expected.name}, but for {names}"
    return Finding("tls.name", verdict, text, _NAMES_RFC, facts.address)


def _life(facts: CertificateFacts) -> Finding:
    days = facts.days_left
    if days < 0:
        text, verdict = f"expired {-days:.1f} days ago", Verdict.FAIL
    elif days < min(_SOON, (facts.not_after - facts.not_before) / DAY / 6):
        text, verdict = f"{days:.1f} days left only: it should have been renewed by now", Verdict.NOTE
    else:
        text, verdict = f"days left: {days:.0f}", Verdict.PASS
    return Finding("tls.expiry", verdict, text, _RFC, facts.address)


def _order(facts: CertificateFacts) -> Finding:
    if len(set(facts.chain)) != len(facts.chain):
        text = "the server sends a certificate twice"
        return Finding("tls.chain-sent", Verdict.NOTE, text, "RFC 8446 4.4.2", facts.address)
    text = f"certificates sent: {len(facts.chain)}, {' < '.join(facts.chain)}"
    return Finding("tls.chain-sent", Verdict.PASS, text, "RFC 8446 4.4.2", facts.address)


def _end(chain: Sequence[x509.Certificate], now: float, *, trusted: bool) -> float:
    """Return when the first certificate expires, the leaf's issuers included.

    One that has expired in a chain that is trusted is not needed: there is a way without it.
    """
    leaf, *issuers = (each.not_valid_after_utc.timestamp() for each in chain)
    return min([leaf, *(each for each in issuers if each > now or not trusted)])


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = map(str, names.get_values_for_type(x509.IPAddress))
    return (*map(printable, names.get_values_for_type(x509.DNSName)), *addresses)


def _key(leaf: x509.Certificate) -> str:
    key = leaf.public_key()
    if isinstance(key, RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    return type(key).__name__.strip("_").removesuffix("PublicKey")

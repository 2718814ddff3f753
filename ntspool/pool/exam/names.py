"""Verdicts on what the DNS says of a service."""

from collections.abc import Iterator, Sequence

from ntspool.pool.exam.model import Finding, Lookup, Verdict

SERVICE = "_ntske._tcp."
"""Before a host's name: where its SRV record would be (RFC 2782)."""

_DAY = 86400


def judge_names(lookups: Sequence[Lookup], addresses: Sequence[str], *, by_system: bool) -> Iterator[Finding]:
    """Yield the verdicts on the addresses that were found, and on what was looked up on the way.

    `by_system` says that not the DNS but this machine knew the addresses.
    """
    yield _found(lookups, addresses, by_system=by_system)
    hosts = [each for each in lookups if each.type != "SRV" and each.records]
    if hosts:
        yield _dnssec(hosts)
        yield _ttl(hosts)
    for each in lookups:
        if each.type == "SRV" and each.records:
            text = f"there is an SRV record, which clients of today do not look for: {'; '.join(each.records)}"
            yield Finding("dns.srv", Verdict.NOTE, text, "RFC 2782")


def _found(lookups: Sequence[Lookup], addresses: Sequence[str], *, by_system: bool) -> Finding:
    if not addresses:
        reasons = dict.fromkeys(each.failure for each in lookups if each.type != "SRV" and each.failure)
        return Finding("dns.addresses", Verdict.FAIL, "; ".join(reasons) or "the name has no address")
    if by_system:
        text = f"the name is this machine's own knowledge, not the DNS': {', '.join(addresses)}"
        return Finding("dns.addresses", Verdict.NOTE, text)
    v6 = sum(":" in each for each in addresses)
    text = f"{len(addresses) - v6} IPv4 and {v6} IPv6 addresses"
    if v6 and v6 < len(addresses):
        return Finding("dns.addresses", Verdict.PASS, text)
    missing = "IPv4" if v6 else "IPv6"
    return Finding("dns.addresses", Verdict.NOTE, f"{text}: clients that have {missing} only cannot use the service")


def _dnssec(hosts: Sequence[Lookup]) -> Finding:
    if all(each.authenticated for each in hosts):
        text = "the resolver says that DNSSEC proves the addresses"
        return Finding("dns.dnssec", Verdict.PASS, text, "RFC 4035 3.2.3")
    text = "the resolver does not say that DNSSEC proves the addresses; NTS does not depend on it"
    return Finding("dns.dnssec", Verdict.NOTE, text, "RFC 4035 3.2.3")


def _ttl(hosts: Sequence[Lookup]) -> Finding:
    ttls = sorted(each.ttl for each in hosts if each.ttl is not None)
    text = f"kept for {ttls[0]:.0f} s at most" if ttls else "kept for a time that is not known"
    if ttls and ttls[-1] > _DAY:
        return Finding("dns.ttl", Verdict.NOTE, f"{text}: an address that changes is asked for the rest of the day")
    return Finding("dns.ttl", Verdict.PASS, text)


def judge_slot_names(lost: Sequence[str]) -> Iterator[Finding]:
    """Yield the verdict on slot names that the certificate covers and that do not resolve."""
    if lost:
        text = f"the certificate covers {', '.join(lost)}, where clients find no address"
        yield Finding("dns.slots", Verdict.NOTE, text)


def judge_targets(lost: Sequence[str], other_family: Sequence[str] = ()) -> Iterator[Finding]:
    """Yield the verdicts on NTP servers that were handed out and cannot be asked.

    `lost` are names that do not resolve; `other_family` have addresses of IP versions only that are not to be used, or
    that this machine has not.
    """
    if lost:
        text = f"handed out, but without an address: {', '.join(dict.fromkeys(lost))}"
        yield Finding("servers.resolve", Verdict.FAIL, text, "RFC 8915 4.1.7")
    if other_family:
        text = f"not asked, for want of that IP version: {', '.join(dict.fromkeys(other_family))}"
        yield Finding("servers.family-missing", Verdict.SKIP, text)

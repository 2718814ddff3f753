"""Every decoder of bytes that somebody else wrote, by the name of its target, and those that take them in pieces."""

from tests.fuzz import (
    certificates,
    cluster,
    cookies,
    examined,
    files,
    kept,
    messages,
    negotiation,
    packets,
    poolprotocol,
    tlsbytes,
    zone,
)

TARGETS = {
    each.name: each
    for each in (
        *tlsbytes.TARGETS,
        *negotiation.TARGETS,
        *poolprotocol.TARGETS,
        *packets.TARGETS,
        *cookies.TARGETS,
        *examined.TARGETS,
        *certificates.TARGETS,
        *kept.TARGETS,
        *files.TARGETS,
        *messages.TARGETS,
        *zone.TARGETS,
        *cluster.TARGETS,
    )
}
STREAMS = {**negotiation.STREAMS, **poolprotocol.STREAMS}
"""Makers of the exchanges that NTS-KE messages are fed to."""

"""Every decoder of bytes that somebody else wrote, by the name of its target."""

from tests.fuzz import cluster, cookies, files, messages, negotiation, packets, poolprotocol

TARGETS = {
    each.name: each
    for each in (
        *negotiation.TARGETS,
        *poolprotocol.TARGETS,
        *packets.TARGETS,
        *cookies.TARGETS,
        *files.TARGETS,
        *messages.TARGETS,
        *cluster.TARGETS,
    )
}

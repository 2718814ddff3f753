"""Every decoder of bytes that somebody else wrote, by the name of its target, and those that take them in pieces."""

from tests.fuzz import negotiation, poolprotocol
from tests.fuzz.modules import targets

TARGETS = {each.name: each for each in targets()}
STREAMS = {**negotiation.STREAMS, **poolprotocol.STREAMS}
"""Makers of the exchanges that NTS-KE messages are fed to."""

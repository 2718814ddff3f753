"""One probe of one address of a backend that keeps its own keys: by its NTS-KE server, as a client's cookies come."""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence

from ntspool.net.probe import Result
from ntspool.net.spending import Spender
from ntspool.net.upstreamconnection import UpstreamConnection, connect, context_for, within
from ntspool.pool.causes import Cause, Failure
from ntspool.pool.cookies import Association
from ntspool.pool.fleet import Target
from ntspool.pool.model import FixedKey
from ntspool.pool.sample import Limits
from ntspool.wire.aead import Aead
from ntspool.wire.poolprotocol import FixedKeyRequest
from ntspool.wire.secret import Secret

KE_SHARE = 3
"""How many times the time of an NTP answer each step of the key exchange may take: TCP and TLS are round trips more."""


class FixedKeyProber:
    """Probes one target, which `peer` tells how to ask, with every one of `aeads`. Make one for each probe.

    Each probe begins with a connection of its own, so that a certificate that has expired is found out. `clock` is what
    its clock is measured against. `probe` raises OSError when this system has no socket to give.
    """

    def __init__(
        self,
        target: Target,
        peer: FixedKey,
        aeads: Sequence[Aead],
        *,
        limits: Limits,
        timeout: float,
        clock: Callable[[], float],
    ) -> None:
        self._target = target
        self._peer = peer
        self._aeads = aeads
        self._patience = KE_SHARE * timeout
        self._spender = Spender(target, limits, timeout, clock)
        self._connection: UpstreamConnection | None = None

    async def probe(self) -> Result:
        """Have cookies made for fresh keys with each AEAD, and spend them and what comes back for them."""
        try:
            made = await self._make_all()
        finally:
            self._close()
        outcomes: dict[Aead, Failure | None] = {
            aead: found for aead, found in made.items() if isinstance(found, Failure)
        }
        cookies = dict.fromkeys(self._aeads, 0)
        spent = {aead: found for aead, found in made.items() if not isinstance(found, Failure)}
        firsts = await asyncio.gather(*(self._spender.spend(*each) for each in spent.values()))
        judged = await asyncio.gather(*map(self._spender.spend_returned, firsts))
        for aead, first, failure in zip(spent, firsts, judged, strict=True):
            outcomes[aead], cookies[aead] = failure, first.cookies
        return Result(outcomes, (), self._spender.best, cookies)

    async def _make_all(self) -> Mapping[Aead, tuple[Association, bytes] | Failure]:
        """Return an association and a cookie for each AEAD, or why there is none."""
        connection = await self._connect()
        if isinstance(connection, Failure):
            return dict.fromkeys(self._aeads, connection)
        support = await within(self._patience, connection.support(self._peer.token))
        if isinstance(support, Failure):
            return dict.fromkeys(self._aeads, support)
        if not support.keep_alive:
            self._close()
        return {
            aead: await self._make(aead) if aead in support.usable_aeads else Failure(Cause.KE_AEAD)
            for aead in self._aeads
        }

    async def _make(self, aead: Aead) -> tuple[Association, bytes] | Failure:
        connection = await self._connect()
        if isinstance(connection, Failure):
            return connection
        keys = Association(aead, Secret(os.urandom(aead.key_length)), Secret(os.urandom(aead.key_length)))
        request = FixedKeyRequest(self._peer.token, aead, keys.c2s, keys.s2c)
        answer = await within(self._patience, connection.cookies(request))
        if isinstance(answer, Failure) or not answer.keep_alive:
            self._close()
        return answer if isinstance(answer, Failure) else (keys, answer.response.cookies[0])

    async def _connect(self) -> UpstreamConnection | Failure:
        if self._connection is not None:
            return self._connection
        context = context_for(self._peer.ca)
        found = await connect(self._peer, self._target.address, context, self._patience)
        if isinstance(found, UpstreamConnection):
            self._connection = found
        return found

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

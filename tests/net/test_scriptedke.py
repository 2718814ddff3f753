"""The scripted NTS-KE server of the tests: honest until told otherwise, and then found out by our decoder."""

import asyncio
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace

import pytest
from OpenSSL import SSL

from ntspool.errors import RemoteError
from ntspool.pool.cookies import CookieFormat, CookieJar, ServerKey
from ntspool.wire.messages import Refusal
from ntspool.wire.poolprotocol import FixedKeyAnswer, FixedKeyRequest, Support, SupportQuery
from ntspool.wire.secret import Secret
from tests.net.poolclient import PoolClient
from tests.net.scriptedke import BREAKDOWNS, DEVIATIONS, ScriptedKe, deviating

TIME = SimpleNamespace(
    jar=CookieJar(CookieFormat.NTSPOOL, [ServerKey(1, Secret(bytes(32)))], 0), addresses=[("127.0.0.1", 4123)]
)


@asynccontextmanager
async def scripted(pki, directory):
    async with ScriptedKe("127.0.0.1", pki.authority, directory, TIME) as server:
        yield server


def ask(pki, server, *questions):
    with PoolClient("127.0.0.1", server.port, pki.ca) as pool:
        return [pool.ask(each) for each in questions]


def test_it_is_honest_and_remembers_keys(pki, tmp_path):
    async def main():
        async with scripted(pki, tmp_path) as server:
            question = FixedKeyRequest(server.token, 15, Secret(b"\1" * 32), Secret(b"\2" * 32))
            lists, answer = await asyncio.to_thread(ask, pki, server, SupportQuery(server.token), question)
            assert (type(lists), type(answer)) == (Support, FixedKeyAnswer)
            assert (server.asked, server.connections) == ([question], 1)

    asyncio.run(main())


@pytest.mark.parametrize("deviation", [*DEVIATIONS, *BREAKDOWNS])
def test_no_deviation_passes_for_an_answer(pki, tmp_path, deviation):
    async def main():
        async with scripted(pki, tmp_path) as server:
            server.on_keys = BREAKDOWNS.get(deviation) or deviating(deviation)
            question = FixedKeyRequest(server.token, 15, Secret(b"\1" * 32), Secret(b"\2" * 32))
            with suppress(RemoteError, SSL.Error):
                (answer,) = await asyncio.to_thread(ask, pki, server, question)
                assert answer is None or isinstance(answer, Refusal)

    asyncio.run(main())

"""The client against a real etcd: its verbs, its watches, and what it bears."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ntspool.app.sharing import etcd_settings
from ntspool.app.throwaway import Authority
from ntspool.config import Store
from ntspool.errors import ConflictError, StateError, StoreAwayError
from ntspool.net.etcd import Etcd, EtcdSettings
from ntspool.wire.secret import Secret
from tests.interop.etcd import etcd
from tests.waiting import DEADLINE, until


@pytest.fixture(scope="module")
def cluster():
    with etcd(3) as running:
        yield running


@pytest.fixture
def three(cluster):
    """Return the cluster, with all of its members there again."""
    cluster.start()
    cluster.leader()
    return cluster


@asynccontextmanager
async def client(cluster, prefix, endpoints=None, **options):
    settings = EtcdSettings(tuple(endpoints or cluster.endpoints), f"/test/{prefix}/", **options)
    async with Etcd(settings) as made:
        yield made


def test_an_entry_is_written_read_and_guarded_by_its_revision(three):
    async def run():
        async with client(three, "verbs") as store:
            assert await store.get("a") is None
            first = await store.put_if("a", b"\x00one", 0)
            held = await store.get("a")
            assert (held.key, held.data, held.revision) == ("a", b"\x00one", first)
            for stale in (0, first - 1):
                with pytest.raises(ConflictError):
                    await store.put_if("a", b"two", stale)
            second = await store.put_if("a", b"two", first)
            assert second > first
            await store.put("b", b"")
            found, revision = await store.read_all()
            assert {each.key: each.data for each in found} == {"a": b"two", "b": b""}
            assert revision >= second
            await store.delete("a")
            assert await store.get("a") is None

    asyncio.run(run())


def test_a_write_that_was_done_without_our_hearing_of_it_is_no_conflict(three):
    async def run():
        async with client(three, "twice") as store:
            first = await store.put_if("a", b"one", 0)
            assert await store.put_if("a", b"one", 0) == first

    asyncio.run(run())


def test_a_watch_tells_everything_from_its_revision_on(three):
    async def run():
        async with client(three, "watch") as store:
            first = await store.put("a", b"one")
            await store.put("a", b"two")
            await store.delete("a")
            seen = []
            async with asyncio.timeout(DEADLINE):
                async for message in store.watch(first, 10.0):
                    seen += [(each.key, each.data) for each in message.changes]
                    if len(seen) == 3:
                        await store.put("b", b"three")
                    if len(seen) == 4:
                        break
            assert seen == [("a", b"one"), ("a", b"two"), ("a", None), ("b", b"three")]

    asyncio.run(run())


def test_a_watch_on_what_was_compacted_says_so(three):
    async def run():
        async with client(three, "compact") as store:
            await store.put("a", b"one")
            last = await store.put("a", b"two")
            three.control("compact", str(last))
            with pytest.raises(StoreAwayError, match="compacted"):
                assert [message async for message in store.watch(1, 10.0)] == "never returned"

    asyncio.run(run())


def test_a_silent_watch_is_given_up(three):
    async def run():
        async with client(three, "silent") as store:
            _, revision = await store.read_all()
            with pytest.raises(StoreAwayError, match="no answer in time"):
                async for _ in store.watch(revision + 1, 0.2):
                    pass

    asyncio.run(run())


def test_what_a_lease_holds_goes_with_it(three):
    async def run():
        async with client(three, "lease") as store:
            lease = await store.grant(60)
            await store.put("alive", b"", lease)
            assert await store.keep_alive(lease)
            await store.revoke(lease)
            assert await store.get("alive") is None
            assert not await store.keep_alive(lease)
            await store.revoke(lease)
            short = await store.grant(1)
            await store.put("alive", b"", short)
            async with asyncio.timeout(DEADLINE):
                while await store.get("alive") is not None:
                    await asyncio.sleep(0.1)

    asyncio.run(run())


def test_the_leader_is_killed_and_nothing_is_lost(three):
    async def run():
        async with client(three, "leader") as store:
            revision = await store.put_if("a", b"before", 0)
            three.kill(three.leader())
            async with asyncio.timeout(DEADLINE):
                while True:
                    try:
                        revision = await store.put_if("a", b"after", revision)
                    except StoreAwayError:
                        continue
                    break
            assert (await store.get("a")).data == b"after"

    asyncio.run(run())


def test_without_etcd_calls_fail_in_time_and_work_again_after_it(three):
    async def run():
        async with client(three, "gone") as store:
            await store.put("a", b"one")
            three.kill()
            loop = asyncio.get_running_loop()
            began = loop.time()
            with pytest.raises(StoreAwayError, match="does not answer"):
                await store.get("a")
            assert loop.time() - began < 8
            three.start()
            async with asyncio.timeout(DEADLINE):
                while True:
                    try:
                        assert (await store.get("a")).data == b"one"
                    except StoreAwayError:
                        continue
                    break

    asyncio.run(run())


def test_users_see_what_their_roles_allow_and_tokens_are_renewed():
    with etcd(1) as alone:
        alone.control("user", "add", "root:secret")
        alone.control("user", "grant-role", "root", "root")
        alone.control("role", "add", "ntspool")
        alone.control("role", "grant-permission", "ntspool", "readwrite", "/test/", "--prefix")
        alone.control("user", "add", "gateway:good word")
        alone.control("user", "grant-role", "gateway", "ntspool")

        async def run():
            async with client(alone, "auth", user="gateway", password=Secret(b"good word")) as store:
                await store.put("before", b"authentication is not on yet")
                alone.control("auth", "enable")
                await store.put("a", b"one")
                assert store._token
                store._token = Secret(b"forgotten.1")
                assert (await store.get("a")).data == b"one"
                assert store._token != Secret(b"forgotten.1")
                seen = []

                async def follow():
                    async for message in store.watch(2, 10.0):
                        seen.extend(message.changes)

                following = asyncio.create_task(follow())
                await until(lambda: len(seen) == 2)
                following.cancel()
            settings = EtcdSettings(alone.endpoints, "/elsewhere/", "gateway", Secret(b"good word"))
            async with Etcd(settings) as elsewhere:
                with pytest.raises(StateError, match="permission denied"):
                    await elsewhere.get("a")
                with pytest.raises(StoreAwayError, match="permission denied"):
                    async for _ in elsewhere.watch(1, 5.0):
                        pass
            async with client(alone, "auth", user="gateway", password=Secret(b"bad word")) as stranger:
                with pytest.raises(StateError, match="invalid user ID or password"):
                    await stranger.get("a")
            async with client(alone, "auth") as nobody:
                with pytest.raises(StateError, match="etcd refuses: "):
                    await nobody.get("a")

        asyncio.run(run())


def test_mutual_tls_with_users_takes_a_certificate_without_a_common_name(tmp_path):
    authority = Authority.make(datetime.now(UTC))
    ca = tmp_path / "ca.pem"
    authority.write(ca)
    for folder in ("named", "server"):
        (tmp_path / folder).mkdir()
        authority.issue(["localhost"], ["127.0.0.1"], tmp_path / folder, datetime.now(UTC))
    named = [tmp_path / "named" / name for name in ("fullchain.pem", "privkey.pem")]
    server = [tmp_path / "server" / name for name in ("fullchain.pem", "privkey.pem")]
    nameless = issue_nameless(authority, tmp_path)
    options = (f"--cert-file={server[0]}", f"--key-file={server[1]}", f"--trusted-ca-file={ca}", "--client-cert-auth")
    trust = (f"--cacert={ca}", f"--cert={named[0]}", f"--key={named[1]}")
    with etcd(1, options=options, trust=trust) as alone:
        alone.control("user", "add", "root:secret")
        alone.control("user", "grant-role", "root", "root")

        def put(certificate, user="root"):
            password = tmp_path / "password"
            password.write_text("secret\n")
            password.chmod(0o600)
            shown = {"certificate": certificate[0], "key": certificate[1]} if certificate else {}
            stated = {"user": user, "password": password} if user else {}
            store = Store.model_construct(
                etcd=alone.endpoints, prefix="/test/", ca=ca, **{**NOTHING, **shown, **stated}
            )

            async def run():
                async with Etcd(etcd_settings(store)) as client:
                    await client.put("a", b"x")

            asyncio.run(run())

        put(named, user="")
        with pytest.raises(StoreAwayError):
            put(None, user="")
        alone.control("auth", "enable")
        put(nameless)
        with pytest.raises(StateError, match="CommonName of client sending a request against gateway will be ignored"):
            put(named)


NOTHING = {"certificate": None, "key": None, "user": None, "password": None}


def issue_nameless(authority, directory):
    """Write a client's certificate whose subject has no common name, and its key; return their paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        authority.certificate.subject, x509.Name([]), key.public_key(), x509.random_serial_number()
    )
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    names = x509.SubjectAlternativeName([x509.DNSName("gateway.example.com")])
    issued = builder.add_extension(names, critical=True).sign(authority._key, SHA256())
    chain, private = directory / "nameless.pem", directory / "nameless.key"
    chain.write_bytes(issued.public_bytes(Encoding.PEM))
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return chain, private

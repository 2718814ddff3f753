"""The gateway's certificate replaced on disk, as ACME clients do, while clients come and go."""

import re
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ntspool.app.throwaway import Authority
from ntspool.errors import RemoteError
from tests.interop.clients import chrony_client
from tests.interop.daemons import timeserver
from tests.interop.lab import wait_until
from tests.interop.pool import HOSTS, Member, laid_out


@pytest.fixture
def pool():
    with laid_out([Member("ntp-1", ("127.0.0.11",), timeserver, "ntspool")]) as laid, laid.daemon("ntp-1"):
        yield laid


def certify(pool, ca):
    """Replace the gateway's certificate by one of a new authority, whom clients trust by the file `ca`."""
    authority = Authority.make(datetime.now(UTC))
    authority.write(pool.directory / ca)
    authority.issue(["localhost"], HOSTS, pool.directory, datetime.now(UTC))


def is_trusted(pool, ca):
    """Tell whether a client that trusts only the authority in the file `ca` trusts the gateway."""
    try:
        pool.session(pool.directory / ca)
    except RemoteError as error:
        if "certificate verify failed" not in str(error):
            raise
        return False
    return True


def test_new_sessions_see_a_new_certificate_and_no_session_fails_meanwhile(pool):
    enough = Event()

    def clients():
        while not enough.is_set():
            # For a moment one worker has the new certificate and another the old one: either may answer each try.
            yield any(is_trusted(pool, ca) for ca in ("ca.pem", "new.pem") * 3)

    with pool.gateway() as process, ThreadPoolExecutor() as threads:
        sessions = threads.submit(lambda: list(clients()))
        try:
            certify(pool, "new.pem")
            process.send_signal(signal.SIGHUP)
            wait_until("the new certificate to be served", lambda: is_trusted(pool, "new.pem"))
            # Soon every worker serves it.
            wait_until("the reload to end", lambda: pool.log("reloaded"))
            assert all(is_trusted(pool, "new.pem") for _ in range(20))
            assert not any(is_trusted(pool, "ca.pem") for _ in range(20))
        finally:
            enough.set()
        assert all(sessions.result())


def damage(pool):
    (pool.directory / "fullchain.pem").write_text("-----BEGIN CERTIFICATE-----\n")


def keep_the_old_key(pool):
    key = (pool.directory / "privkey.pem").read_bytes()
    certify(pool, "new.pem")
    (pool.directory / "privkey.pem").write_bytes(key)


def certify_a_short_key(pool):
    key, name, now = (
        rsa.generate_private_key(65537, 1024),
        x509.Name.from_rfc4514_string("CN=localhost"),
        datetime.now(UTC),
    )
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    certificate = builder.add_extension(names, critical=False).sign(key, SHA256())
    (pool.directory / "fullchain.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (pool.directory / "privkey.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


BAD = {
    damage: "holds no certificate",
    keep_the_old_key: "is not the private key of",
    certify_a_short_key: "ee key too small",
}


def refused_for(pool, reason):
    refused = pool.log("reload refused, the old configuration stays")
    return any(reason in mistake for each in refused for mistake in each["mistakes"])


def test_a_bad_certificate_is_refused_on_sighup_and_the_old_one_stays(pool):
    files = [pool.directory / name for name in ("fullchain.pem", "privkey.pem")]
    good = [each.read_bytes() for each in files]
    with pool.gateway() as process:
        for spoil, reason in BAD.items():
            spoil(pool)
            process.send_signal(signal.SIGHUP)
            wait_until(f"{reason!r} to be told", lambda reason=reason: refused_for(pool, reason))
            assert all(is_trusted(pool, "ca.pem") for _ in range(20))
            for path, contents in zip(files, good, strict=True):
                path.write_bytes(contents)


def test_without_a_signal_a_new_certificate_is_found_too(pool):
    with pool.gateway():
        certify(pool, "new.pem")
        wait_until("the new certificate to be served", lambda: is_trusted(pool, "new.pem"))


def test_chronyd_refuses_an_expired_certificate_and_says_so(pool):
    authority, long_ago = Authority.make(datetime.now(UTC)), datetime.now(UTC) - timedelta(days=3)
    authority.write(pool.ca)
    authority.issue(["localhost"], HOSTS, pool.directory, long_ago)
    with pool.gateway(), chrony_client(pool) as client:
        wait_until("the gateway to tell", lambda: pool.log("certificate has expired"))
        log = client.directory / "log"
        refusal = "TLS handshake with .* failed : .*certificate chain uses expired certificate"
        wait_until("chronyd to refuse it", lambda: re.search(refusal, log.read_text()))
        auth = client.auth()
        assert auth is not None
        assert auth.cookies == 0

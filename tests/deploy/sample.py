"""The sample configuration, with certificates that are there."""

from datetime import UTC, datetime
from pathlib import Path

TLS = "/etc/ntspool/tls"


def sample_with_certificate(sample: Path, directory: Path, pki) -> Path:
    """Write the sample into `directory` so that all that it names is there; return its path."""
    chain, key = pki.authority.issue(["ntp-pool.example.com", "ntp-pool.example.net"], [], directory, datetime.now(UTC))
    text = sample.read_text()
    assert f"certificate: {TLS}/fullchain.pem, key: {TLS}/privkey.pem" in text
    text = text.replace(f"{TLS}/fullchain.pem", str(chain)).replace(f"{TLS}/privkey.pem", str(key))
    path = directory / "backends.yaml"
    path.write_text(text)
    return path

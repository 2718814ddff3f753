"""The key that a DNS server lets in: TSIG (RFC 8945), in the file format of BIND's tsig-keygen."""

import base64
import re
from dataclasses import dataclass
from pathlib import Path

import dns.exception
import dns.name
import dns.tsig

from ntspool.errors import StateError
from ntspool.net.secretfile import read_secret
from ntspool.wire.secret import Secret

ALGORITHMS = ("hmac-sha256", "hmac-sha512", "hmac-sha384", "hmac-sha224", "hmac-sha1")
"""What servers take today; hmac-md5 is not among it."""

# A pattern that had to look for an end more than once would take seconds for a file of this size.
_COMMENT = re.compile(r'("[^"\n]*")|/\*.*?(\*/|\Z)|(?://|#)[^\n]*', re.DOTALL)
_KEY = re.compile(r'key\s+"?([^\s"{;]+)"?\s*\{([^{}]*)\}\s*;?')
_CLAUSE = re.compile(r'\s*(algorithm|secret)\s+"?([^\s";]+)"?\s*')


@dataclass(frozen=True, slots=True)
class TsigKey:
    """A key by its `name`, as a domain name, and its `algorithm`, one of ALGORITHMS."""

    name: str
    algorithm: str
    secret: Secret

    def opened(self) -> dns.tsig.Key:
        """Return the key as dnspython takes it: not to be kept, for it shows itself to whoever prints it."""
        return dns.tsig.Key(self.name, self.secret.reveal(), self.algorithm)


def read_key(path: Path) -> TsigKey:
    """Return the key in the file at `path`; raises StateError with what to mend, which never has the secret in it."""
    try:
        text = read_secret(path).reveal().decode("ascii")
    except UnicodeDecodeError:
        raise StateError(f"{path} is not {_WANTED}") from None
    return _parse(path, _COMMENT.sub(_blank, text).strip())


_WANTED = 'a key file as tsig-keygen writes it: key "NAME" { algorithm hmac-sha256; secret "BASE64"; };'


def _blank(found: re.Match[str]) -> str:
    """Return what stands for a comment: nothing, unless it has no end; what is in quotes stays."""
    return found[1] or ("/*" if found[2] == "" else " ")


def _parse(path: Path, text: str) -> TsigKey:
    found = _KEY.fullmatch(text)
    clauses = [_CLAUSE.fullmatch(each) for each in found[2].split(";") if each.strip()] if found else []
    said = {each[1]: each[2] for each in clauses if each}
    if found is None or len(said) != len(clauses) or said.keys() != {"algorithm", "secret"}:
        raise StateError(f"{path} is not {_WANTED}")
    algorithm = said["algorithm"].lower()
    if algorithm not in ALGORITHMS:
        raise StateError(f"{path} has a key for {algorithm}; servers and ntspool take {', '.join(ALGORITHMS)}")
    try:
        secret = Secret(base64.b64decode(said["secret"], validate=True))
        return TsigKey(dns.name.from_text(found[1].lower()).to_text(omit_final_dot=True), algorithm, secret)
    except (dns.exception.DNSException, ValueError):  # no cause: it would show the secret
        raise StateError(f"{path} is not {_WANTED}") from None

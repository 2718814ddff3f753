"""Why an address is no good, told apart: what a probe says instead of success."""

from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """What is wrong; docs/health.md tells what to do about each."""

    NOT_PROBED = "not probed yet"
    NO_ANSWER = "no answer"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    NAK = "NTS NAK"
    BAD_AUTHENTICATOR = "bad authenticator"
    KISS = "kiss-o'-death"
    UNPROTECTED = "not protected by NTS"
    MALFORMED = "malformed answer"
    UNSYNCHRONISED = "unsynchronised"
    STRATUM = "wrong stratum"
    ROOT_DISTANCE = "root distance"
    OFFSET = "offset vote"
    COOKIE = "returned cookie refused"
    KEYS_BEHIND = "keys behind"
    KE_UNREACHABLE = "key exchange unreachable"
    KE_NO_ANSWER = "key exchange does not answer"
    KE_TLS = "key exchange TLS failed"
    KE_TOKEN = "token refused"  # noqa: S105  -- the words, no token
    KE_ERROR = "key exchange error"
    KE_MALFORMED = "malformed key exchange"
    KE_AEAD = "AEAD not supported"


# What others than the backend can bring about, a firewall on our own side or whoever sprays packets at us.
_SILENCE = {
    *(Cause.NOT_PROBED, Cause.NO_ANSWER, Cause.UNREACHABLE, Cause.REFUSED, Cause.MALFORMED, Cause.KEYS_BEHIND),
    *(Cause.KE_UNREACHABLE, Cause.KE_NO_ANSWER, Cause.KE_ERROR),
}

RATE = "RATE"
"""The kiss code of a server that is asked too often (RFC 5905 section 7.4)."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A cause with its figures.

    `authentic` tells that it came under the keys of our cookie, so the server opened that.
    """

    cause: Cause
    detail: str = ""
    authentic: bool = False

    def __str__(self) -> str:
        return f"{self.cause} ({self.detail})" if self.detail else str(self.cause)

    @property
    def evident(self) -> bool:
        """Whether the server itself shows that clients are better sent elsewhere, so that there is no need to wait.

        Everything else is silence, and counted: it may be our own network that fails. So is RATE: it says that we
        probe too often, and nothing of the clients.
        """
        return self.cause not in _SILENCE and not (self.cause is Cause.KISS and self.detail == RATE)


NOT_PROBED = Failure(Cause.NOT_PROBED)

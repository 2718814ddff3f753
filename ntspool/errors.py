"""Every exception of ntspool, on one screen.

NtspoolError
├── RemoteError              a peer's fault: log it, answer it, go on
│   ├── WireError            bytes from outside that are not what they must be
│   ├── NtsNakError          a time server cannot open our cookie
│   ├── KissOfDeathError     a time server opened it, and has no time for us
│   └── ShutOutError         a gateway knows an agent and says no for good
└── LocalError               our own side's fault: tell the operator
    ├── ConfigError          backends.yaml or a command's input is wrong
    ├── RefusedError         what a command asks for is not done, on purpose
    ├── UnknownError         a command names what the gateway does not have
    ├── UnreachableError     no gateway answers a command
    ├── StateError           something kept on disk is missing, damaged or unsafe
    │   ├── ConflictError    somebody else wrote it first
    │   └── StoreAwayError   the store that the gateways share does not answer
    ├── CertificateError     a certificate or private key cannot be used
    └── DatabaseError        a database of regions cannot be used
"""

from collections.abc import Sequence
from enum import IntEnum


class ErrorCode(IntEnum):
    """The NTS-KE error codes of RFC 8915 section 4.1.3."""

    UNRECOGNIZED_CRITICAL_RECORD = 0
    BAD_REQUEST = 1
    INTERNAL_SERVER_ERROR = 2


class NtspoolError(Exception):
    """The root of every exception that ntspool raises on purpose."""


class RemoteError(NtspoolError):
    """A peer did something it must not do; nothing on our side needs mending."""


class WireError(RemoteError):
    """Bytes from outside are malformed; the only exception that a decoder of untrusted bytes raises.

    `code` is the NTS-KE error code that an NTS-KE server answers with.
    """

    def __init__(self, message: str, code: ErrorCode = ErrorCode.BAD_REQUEST) -> None:
        super().__init__(message)
        self.code = code


class NtsNakError(RemoteError):
    """A time server answered with an NTS NAK: it has not the key that the cookie was minted under."""


class KissOfDeathError(RemoteError):
    """A time server answered with an authenticated kiss-o'-death: it has the key, but gives no time."""


class ShutOutError(RemoteError):
    """A gateway knows who asks and says no for good: the agent was revoked, or its certificate or token is no more."""


class LocalError(NtspoolError):
    """Something on our own side is wrong; the message tells the operator what to mend."""


class ConfigError(LocalError):
    """A configuration is wrong; `mistakes` holds every one as `file:line: what and what is expected`."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


class RefusedError(LocalError):
    """What a command asks for is not done, on purpose; the message says why, and nothing was changed."""


class UnknownError(LocalError):
    """A command names something that the gateway does not have; the message says what there is."""


class UnreachableError(LocalError):
    """No gateway answers: at its admin socket, or at the port that a load should go to."""


class StateError(LocalError):
    """A file of ours is missing, damaged or unsafe; the message says what to do about it."""


class ConflictError(StateError):
    """Somebody else wrote the entry first; get it again and decide anew."""


class StoreAwayError(StateError):
    """The store that the gateways share does not answer; what is served goes on, and changes have to wait."""


class CertificateError(LocalError):
    """A certificate or private key cannot be used; the message names the file and the reason."""


class DatabaseError(LocalError):
    """A database of regions cannot be used; the message names the file and the reason."""

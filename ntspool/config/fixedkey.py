"""What must hold of a backend that keeps its own keys, and of what belongs to no other."""

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificates

from ntspool.config import values
from ntspool.config.yamlfile import Document, Mistake, Place
from ntspool.errors import StateError
from ntspool.net.peertoken import read_token
from ntspool.pool.model import FIXED_KEY
from ntspool.pool.unreadable import UNREADABLE

_TOKEN = f"expected the path of a file with the token that the backend knows us by, as `cookies: {FIXED_KEY}` needs it"


def check(document: Document, place: Place) -> Iterator[Mistake]:
    """Yield what is wrong about `ke` and `cookies` of the backend at `place`, and with the files that `ke` names."""
    ke = (*place, "ke")
    if document.at(*place, "cookies") != FIXED_KEY:
        known = (*place, "cookies") not in document.lines or document.at(*place, "cookies") in values.COOKIES
        if ke in document.lines and known:
            wrong = f"stands where cookies are not {FIXED_KEY}, so nobody asks this backend for cookies"
            yield document.mistake(ke, f"{wrong}; expected `cookies: {FIXED_KEY}` beside it")
        return
    if (*place, "key_group") in document.lines:
        wrong = f"stands beside `cookies: {FIXED_KEY}`, whose keys are shared with nobody"
        yield document.mistake((*place, "key_group"), f"{wrong}; expected one of the two")
    if (*ke, "token") not in document.lines:
        yield document.mistake((*ke, "token"), f"missing; {_TOKEN}")
    yield from _token(document, (*ke, "token"))
    yield from _authorities(document, (*ke, "ca"))


def _token(document: Document, place: Place) -> Iterator[Mistake]:
    path = _file(document, place, values.secret_path)
    if path is None:
        return
    try:
        read_token(path)
    except StateError as error:
        yield document.mistake(place, f"{error}; {_TOKEN}")


def _authorities(document: Document, place: Place) -> Iterator[Mistake]:
    path, wanted = _file(document, place, values.file_path), "expected a PEM file with the certificates of authorities"
    if path is None:
        return
    try:
        _check_regular(path)
        load_pem_x509_certificates(path.read_bytes())
    except StateError as error:
        yield document.mistake(place, f"{error}; {wanted}")
    except OSError as error:
        yield document.mistake(place, f"{path} cannot be read: {error.strerror}; {wanted}")
    except UNREADABLE:
        yield document.mistake(place, f"{path} holds no certificate in PEM; {wanted}")


def _file(document: Document, place: Place, parse: Callable[[object, Path], Path]) -> Path | None:
    """Return the path at `place`, None when none is there or it is wrong in itself."""
    if place not in document.lines:
        return None
    try:
        return parse(document.at(*place), document.folder)
    except ValueError:
        return None


def _check_regular(path: Path) -> None:
    # Opening a FIFO would wait for its writer.
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise StateError(f"{path} is not a regular file")

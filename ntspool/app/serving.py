"""What clients may be given of a backend now: what is declared, ordered, found and proved, put together."""

from ntspool.net.checker import Checker
from ntspool.pool.admin import Mode, Order
from ntspool.pool.cookies import SERVER_AEAD
from ntspool.pool.model import Backend, FixedKey, Serving


def serving(declared: Backend, order: Order, checker: Checker, *, withheld: bool) -> Serving:
    """Return a backend as workers may give it out; one that is `withheld` has no address that is UP."""
    backend = order.apply(declared)
    wanted = order.mode is Mode.READY and not withheld
    if isinstance(backend.cookies, FixedKey):
        return Serving(backend, checker.up(backend) if wanted else (), None)
    epoch = checker.mint_epoch(backend)
    up = checker.up(backend) if epoch and wanted else ()
    key = (epoch or checker.keyring.current).key(backend.key_group, SERVER_AEAD[backend.cookies])
    return Serving(backend, up, key)

"""Made-up views, for tests of whoever shows them."""

from ntspool.pool.counts import BOUNDS
from ntspool.pool.view import BackendView, GatewayView, HistogramView, SessionsView, WorkersView

NEVER = HistogramView(BOUNDS, (0,) * len(BOUNDS), 0, 0.0)
NOTHING = SessionsView({}, {}, {}, {}, NEVER, NEVER, 0.0, 0)


def a_backend(name, **more):
    """Return a backend that is UP and has served nobody."""
    told = {
        "state": "UP",
        "admin": "ready",
        "cause": "",
        "since": 1.0,
        "weight": 10,
        "effective_weight": 10.0,
        "cookies": "chrony",
        "key_group": name,
        "regions": (),
        "addresses": (),
        "sessions": 0,
        "share": 0.0,
        "fair_share": 1.0,
        "minting": 3,
    }
    return BackendView(name, **told | more)


def a_gateway(**more):
    """Return a gateway without backends that has served nobody."""
    told = {
        "version": "1",
        "now": 2.0,
        "started": 1.0,
        "revision": 1,
        "ready": True,
        "names": ("ntp.example.com",),
        "listen": ("0.0.0.0:4460",),
        "workers": WorkersView(1, (7,), 0, 0),
        "backends": (),
        "sessions": NOTHING,
        "certificates": (),
        "panicking": (),
        "vote": "majority",
        "keys": {},
    }
    return GatewayView(**told | more)

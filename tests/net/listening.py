"""A listener to talk to, in the test's own loop."""

from ntspool.net.admission import Admission
from ntspool.net.connection import fetch_nothing
from ntspool.net.keyexchange import Server
from ntspool.net.listener import Listener, prepare
from ntspool.net.system import listen
from ntspool.pool.model import LogSettings, SessionRules, Snapshot
from ntspool.wire.messages import Request
from tests.conftest import make_serving

REQUEST = Request((0,), (15,))
SERVING = (make_serving(address="192.0.2.1"), make_serving("ntp-6", "2001:db8::1"))


class Running:
    """A listener on a free port of `host`, and what it reported.

    `serving` and `fetch` are for backends that must be asked.
    """

    def __init__(self, pki, timeout=5.0, limit=100, host="127.0.0.1", serving=SERVING, fetch=fetch_nothing, **rules):
        self.reports = []
        self.rules = SessionRules(timeout, limit, **rules)
        self._rulebook = prepare(
            Snapshot(1, (pki.certificate,), self.rules, LogSettings(), tuple(serving)), None, fetch
        )
        self.admission = Admission()
        self.admission.adopt(self.rules)
        self._socket = listen(host, 0)
        self.address = self._socket.getsockname()[:2]
        self.server = Server(*self.address, "localhost", pki.ca)

    async def __aenter__(self):
        self.listener = Listener([self._socket], lambda: self._rulebook, self._end, self.admission)
        self.listener.start()
        return self

    def _end(self, *report):
        self.reports.append(report)

    async def __aexit__(self, *_):
        await self.listener.stop()
        self._socket.close()

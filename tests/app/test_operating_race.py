"""Orders of this gateway and of another one at the same moment."""

from dataclasses import replace

from ntspool.app.operating import Operating
from ntspool.net.store import FileStore
from ntspool.pool import admin
from ntspool.pool.admin import AS_DECLARED, Mode

DRAINED = replace(AS_DECLARED, mode=Mode.DRAIN)


def test_what_another_gateway_orders_while_an_order_is_made_is_not_lost(tmp_path, monkeypatch):
    store = FileStore(tmp_path / "state")
    here, there = Operating(store), Operating(store)
    given = admin.given

    def slowly(orders, name, order):
        if name == "ntp-1" and there.order("ntp-2") == AS_DECLARED:
            there.give("ntp-2", DRAINED)
            # The watch tells, and the event loop takes it over, while a thread makes the order.
            here.refresh()
        return given(orders, name, order)

    monkeypatch.setattr(admin, "given", slowly)
    here.give("ntp-1", DRAINED)
    assert [Operating(store).order(name) for name in ("ntp-1", "ntp-2")] == [DRAINED, DRAINED]

"""ntspool/pool/causes.py: what is evidence and what is silence."""

import pytest

from ntspool.pool.causes import Cause, Failure

SILENT = {
    *(Cause.NOT_PROBED, Cause.NO_ANSWER, Cause.UNREACHABLE, Cause.REFUSED, Cause.MALFORMED, Cause.KEYS_BEHIND),
    *(Cause.KE_UNREACHABLE, Cause.KE_NO_ANSWER, Cause.KE_ERROR),
}


@pytest.mark.parametrize("cause", Cause)
def test_evidence_is_what_only_the_backend_can_bring_about(cause):
    assert Failure(cause).evident == (cause not in SILENT)


@pytest.mark.parametrize(("code", "evident"), [("RATE", False), ("DENY", True), ("INIT", True)])
def test_to_be_asked_less_often_is_no_evidence(code, evident):
    assert Failure(Cause.KISS, code).evident == evident


def test_words():
    assert str(Failure(Cause.NAK)) == "NTS NAK"
    assert str(Failure(Cause.KISS, "DENY")) == "kiss-o'-death (DENY)"

"""ntspool/pool/causes.py: what is evidence, what is silence, and what is counted though it is neither."""

import pytest

from ntspool.pool.causes import Cause, Failure

SILENT = {Cause.NOT_PROBED, Cause.NO_ANSWER, Cause.UNREACHABLE, Cause.MALFORMED}
COUNTED = SILENT | {Cause.REFUSED, Cause.KEYS_BEHIND}


@pytest.mark.parametrize("cause", Cause)
def test_evidence_and_silence(cause):
    failure = Failure(cause)
    assert failure.silent == (cause in SILENT)
    assert failure.evident == (cause not in COUNTED)
    assert not (failure.silent and failure.evident)


@pytest.mark.parametrize(("code", "evident"), [("RATE", False), ("DENY", True), ("INIT", True)])
def test_to_be_asked_less_often_is_no_evidence(code, evident):
    failure = Failure(Cause.KISS, code)
    assert failure.evident == evident
    assert not failure.silent


def test_words():
    assert str(Failure(Cause.NAK)) == "NTS NAK"
    assert str(Failure(Cause.KISS, "DENY")) == "kiss-o'-death (DENY)"

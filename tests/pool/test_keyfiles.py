"""Key files: golden bytes, round trips, what daemons accept and refuse, and garbage."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import WireError
from ntspool.pool.cookies import SERVER_AEAD, CookieFormat, ServerKey
from ntspool.pool.keyfiles import MAX_FILE_LENGTH, KeySet, parse, render, render_chrony_nks1
from ntspool.wire.secret import Secret

CHRONY, NTPSEC = CookieFormat.CHRONY, CookieFormat.NTPSEC
NTPD_RS, NTSPOOL = CookieFormat.NTPD_RS, CookieFormat.NTSPOOL
NOW = 0x65432100


def key_set(cookie_format, first_id=0xABCD, count=4, current=2):
    """Keys with consecutive ids whose secrets are all 00, all 01, ..."""
    return key_set_of(cookie_format, *((first_id + index) % (1 << 32) for index in range(count)), current=current)


def key_set_of(cookie_format, *ids, current=2):
    length = SERVER_AEAD[cookie_format].key_length
    return KeySet(tuple(ServerKey(each, Secret(bytes([index]) * length)) for index, each in enumerate(ids)), current)


@st.composite
def our_keys(draw, cookie_format):
    """Any key set that `render` takes for this format."""
    count = 4 if cookie_format is CHRONY else draw(st.integers(1, 10))
    current = 2 if cookie_format is CHRONY else draw(st.integers(0, count - 1))
    length = SERVER_AEAD[cookie_format].key_length
    secrets = draw(st.lists(st.binary(min_size=length, max_size=length), min_size=count, max_size=count))
    # Every revocation of an epoch to come makes the ids jump by four.
    jumps = st.just(0) if cookie_format is NTPD_RS else st.integers(0, 1000)
    gaps = draw(st.lists(jumps, min_size=count - 1, max_size=count - 1))
    ids = accumulate((1 + 4 * gap for gap in gaps), initial=draw(st.integers(0, 0xFFFFFFFF)))
    return KeySet(
        tuple(ServerKey(each % (1 << 32), Secret(secret)) for each, secret in zip(ids, secrets, strict=True)), current
    )


def nks(*lines):
    return "".join(f"{line}\n" for line in lines).encode()


A, B, C, D = (f"{index:02x}" * 32 for index in range(4))
NKS0 = nks("NKS0", "15 0.0", f"0000ABCD {A}", f"0000ABCE {B}", f"0000ABCF {C}", f"0000ABD0 {D}")


@pytest.mark.parametrize(
    ("cookie_format", "data"),
    [
        (CHRONY, NKS0),
        (
            NTPSEC,
            f"T: 0\nL: 32\nI: 43983\nK: {C}\nI: 43984\nK: {D}\nI: 43982\nK: {B}\nI: 43981\nK: {A}\n".encode(),
        ),
        (
            NTPD_RS,
            bytes.fromhex("0000000065432100 0000abcd 00000002 00000004")
            + b"".join(bytes([each]) * 64 for each in range(4)),
        ),
        (
            NTSPOOL,
            b"ntspool-keys 1\n"
            + f"previous 0000abcd {A}\nprevious 0000abce {B}\ncurrent 0000abcf {C}\nnext 0000abd0 {D}\n".encode(),
        ),
    ],
)
def test_golden_bytes(cookie_format, data):
    assert render(cookie_format, key_set(cookie_format), NOW) == data
    assert parse(cookie_format, data) == key_set(cookie_format)


def test_golden_bytes_of_nks1():
    data = nks("NKS1", "0.0", f"0000ABCD {A} 15", f"0000ABCE {B} 15", f"0000ABCF {C} 15", f"0000ABD0 {D} 15")
    assert render_chrony_nks1(key_set(CHRONY)) == data
    assert parse(CHRONY, data) == key_set(CHRONY)


@given(st.sampled_from(CookieFormat), st.integers(0, (1 << 64) - 1), st.data())
def test_parse_undoes_render(cookie_format, now, data):
    keys = data.draw(our_keys(cookie_format))
    assert parse(cookie_format, render(cookie_format, keys, now)) == keys


@given(our_keys(CHRONY))
def test_parse_undoes_render_chrony_nks1(keys):
    assert parse(CHRONY, render_chrony_nks1(keys)) == keys


@pytest.mark.parametrize("cookie_format", CookieFormat)
def test_secrets_of_another_length_are_not_rendered(cookie_format):
    keys = key_set(cookie_format).keys
    wrong = KeySet((*keys[:3], ServerKey(keys[3].id, Secret(keys[3].secret.reveal() + b"\0"))), 2)
    with pytest.raises(ValueError, match="takes keys of"):
        render(cookie_format, wrong, NOW)


@pytest.mark.parametrize(
    "ids", [(1, 2, 3, 5), (4, 3, 2, 1), (1, 2, 7, 8), (1, 2, 3, 8), (0xFFFFFFFE, 0xFFFFFFFF, 1, 2)]
)
def test_ntpd_rs_ids_with_gaps_are_not_rendered(ids):
    with pytest.raises(ValueError, match="ntpd-rs's keys are consecutive"):
        render(NTPD_RS, key_set_of(NTPD_RS, *ids), NOW)


@pytest.mark.parametrize(
    "ids", [(1, 2, 3, 5), (4, 3, 2, 1), (1, 2, 4, 5), (0xFFFFFFFE, 0xFFFFFFFF, 1, 2), (1, 2, 3, 7)]
)
@pytest.mark.parametrize("render_chrony", [lambda keys: render(CHRONY, keys, NOW), render_chrony_nks1])
def test_chronys_ids_that_would_share_a_slot_are_not_rendered(ids, render_chrony):
    with pytest.raises(ValueError, match="consecutive modulo four"):
        render_chrony(key_set_of(CHRONY, *ids))


@pytest.mark.parametrize("ids", [(1, 2, 3, 8), (1, 2, 7, 8), (1, 6, 7, 12), (0xFFFFFFFE, 0xFFFFFFFF, 0, 5)])
@pytest.mark.parametrize("cookie_format", [CHRONY, NTPSEC, NTSPOOL])
def test_a_revoked_epoch_to_come_leaves_a_gap_of_four(cookie_format, ids):
    keys = key_set_of(cookie_format, *ids)
    assert parse(cookie_format, render(cookie_format, keys, NOW)) == keys


@pytest.mark.parametrize(("count", "current"), [(3, 2), (5, 2), (4, 3), (4, 1), (1, 0)])
def test_chrony_takes_four_keys_of_which_the_third_mints(count, current):
    with pytest.raises(ValueError, match="four keys"):
        render(CHRONY, key_set(CHRONY, count=count, current=current), NOW)
    with pytest.raises(ValueError, match="four keys"):
        render_chrony_nks1(key_set(CHRONY, count=count, current=current))


def test_ntpsec_takes_ten_keys():
    assert len(parse(NTPSEC, render(NTPSEC, key_set(NTPSEC, count=10, current=2), NOW)).keys) == 10
    with pytest.raises(ValueError, match="ten keys"):
        render(NTPSEC, key_set(NTPSEC, count=11, current=10), NOW)


def test_ntpsecs_file_holds_the_current_then_the_future_then_the_past():
    data = render(NTPSEC, key_set_of(NTPSEC, 1, 2, 3, 8, 9, 14), NOW)
    assert [line for line in data.splitlines() if line.startswith(b"I")] == [
        b"I: %d" % number for number in (3, 8, 9, 14, 2, 1)
    ]


@pytest.mark.parametrize("now", [-1, 1 << 64])
def test_ntpd_rs_takes_a_time_of_64_bits(now):
    with pytest.raises(ValueError, match="no Unix time"):
        render(NTPD_RS, key_set(NTPD_RS), now)


@pytest.mark.parametrize(("count", "current"), [(0, 0), (4, 4), (4, -1)])
def test_a_key_set_needs_a_current_key(count, current):
    with pytest.raises(ValueError, match="there is no key"):
        key_set(NTSPOOL, count=count, current=current)


def test_a_key_set_takes_no_two_keys_with_one_id():
    with pytest.raises(ValueError, match="share an id"):
        KeySet((ServerKey(7, Secret(bytes(32))), ServerKey(7, Secret(bytes(32)))), 0)


def test_no_secret_is_ever_shown():
    assert "x03" not in repr(key_set(CHRONY))


def test_chronyd_is_lenient_about_key_lines():
    keys = [f"0xabcd {A}\r", f" ABCE\t{B.upper()} ", f"0000ABCF {C}", f"ABD0 {D}"]
    data = nks("NKS0", "15  -12.5", *keys, "# anything")
    assert parse(CHRONY, data) == key_set(CHRONY)
    assert parse(CHRONY, NKS0[:-1]) == key_set(CHRONY)


def test_only_two_bits_of_chronys_ids_must_be_consecutive():
    data = nks("NKS0", "15 0.0", f"DEADBEE3 {A}", f"00000010 {B}", f"7FFFFFF1 {C}", f"FFFFFFFE {D}")
    assert [key.id for key in parse(CHRONY, data).keys] == [0xDEADBEE3, 0x10, 0x7FFFFFF1, 0xFFFFFFFE]


def test_a_newer_chronyds_own_keys_of_aead_30():
    a, b, c, d = A[:32], B[:32], C[:32], D[:32]
    each = nks("NKS1", "86399.9", f"2 {a} 30", f"3 {b} 30", f"4 {c} 30", f"5 {d} 30")
    all_at_once = nks("NKS0", "30 0.0", f"2 {a}", f"3 {b}", f"4 {c}", f"5 {d}")
    assert parse(CHRONY, each) == parse(CHRONY, all_at_once)
    assert [len(key.secret.reveal()) for key in parse(CHRONY, each).keys] == [16] * 4


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(NKS0.replace(b"NKS0", b"NKS2"), id="unknown version"),
        pytest.param(b"# comment\n" + NKS0, id="comment first"),
        pytest.param(b"\xef\xbb\xbf" + NKS0, id="byte order mark"),
        pytest.param(NKS0.replace(b"\n", b"\r\n"), id="carriage return in line 1"),
        pytest.param(NKS0.replace(b"NKS0", b"NKS1"), id="NKS0 lines in NKS1"),
        pytest.param(render_chrony_nks1(key_set(CHRONY)).replace(b"NKS1", b"NKS0"), id="NKS1 lines in NKS0"),
        pytest.param(NKS0.replace(b"15 0.0", b""), id="no age"),
        pytest.param(NKS0.replace(b"15 0.0", b"15"), id="no age but an AEAD"),
        pytest.param(NKS0.replace(b"15 0.0", b"15 now"), id="age is no number"),
        pytest.param(NKS0.replace(b"15 0.0", b"17 0.0"), id="AEAD unknown to chrony"),
        pytest.param(NKS0.replace(b"15 0.0", b"999999999999 0.0"), id="absurd AEAD"),
        pytest.param(NKS0.replace(b"15 0.0", b"30 0.0"), id="keys too long for the AEAD"),
        pytest.param(NKS0.replace(A.encode(), A.encode()[2:]), id="a key too short"),
        pytest.param(NKS0.replace(A.encode(), A.encode() + b" 15"), id="an extra word"),
        pytest.param(NKS0.replace(A.encode(), b"zz" * 32), id="no hexadecimal digits"),
        pytest.param(NKS0.replace(b"0000ABCD", b"10000ABCD"), id="id too long"),
        pytest.param(NKS0.replace(b"0000ABCD", b"-0000ABCD"), id="negative id"),
        pytest.param(NKS0.replace(b"0000ABCE", b"0000ABCF"), id="ids not consecutive"),
        pytest.param(NKS0.rsplit(b"\n", 2)[0], id="three keys without a last newline"),
        pytest.param(NKS0.rsplit(b"\n", 2)[0] + b"\n", id="three keys"),
    ],
)
def test_what_chronyd_refuses(data):
    with pytest.raises(WireError):
        parse(CHRONY, data)


def ntpsec_file(*ids, length=32):
    pairs = [line for each in ids for line in (f"I: {each}", "K: " + "aB" * length)]
    return nks("T: 1700000000", f"L: {length}", *pairs)


@pytest.mark.parametrize(
    ("ids", "oldest_first", "current"),
    [
        pytest.param([77], [77], 0, id="ntpd's own first key"),
        pytest.param([500, 9, 77], [77, 9, 500], 2, id="rotated by ntpd: no next"),
        pytest.param([7, 8, 6, 5], [5, 6, 7, 8], 2, id="ours"),
        pytest.param([7, 8], [7, 8], 0, id="ours, current and next only"),
        pytest.param([7, 12, 13, 18, 6, 5], [5, 6, 7, 12, 13, 18], 2, id="ours, with three to come and gaps"),
        pytest.param(
            [0xFFFFFFFE, 0xFFFFFFFF, 4, 5, 0xFFFFFFFD], [0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF, 4, 5], 1, id="gap wraps"
        ),
        pytest.param([7, 6, 8], [8, 6, 7], 2, id="a later position is older whatever its id"),
        pytest.param([0xFFFFFFFF, 0, 0xFFFFFFFE], [0xFFFFFFFE, 0xFFFFFFFF, 0], 1, id="ids wrap"),
    ],
)
def test_the_order_in_ntpsecs_file_tells_the_roles(ids, oldest_first, current):
    keys = parse(NTPSEC, ntpsec_file(*ids))
    assert [key.id for key in keys.keys] == oldest_first
    assert keys.current == current


@pytest.mark.parametrize("length", [32, 48, 64])
def test_ntpsecs_keys_of_every_length(length):
    keys = parse(NTPSEC, ntpsec_file(1, length=length))
    assert keys.keys == (ServerKey(1, Secret(b"\xab" * length)),)


def test_ntpd_ignores_what_follows_its_tenth_key():
    ten = ntpsec_file(*range(100, 0, -10))
    assert parse(NTPSEC, ten + b"I: what\never\n\n") == parse(NTPSEC, ten)
    assert len(parse(NTPSEC, ten).keys) == 10


GOOD_NTPSEC = ntpsec_file(1, 2)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(nks("T: 0", "L: 32"), id="no key"),
        pytest.param(GOOD_NTPSEC.replace(b"T: ", b"T:"), id="T without a space"),
        pytest.param(GOOD_NTPSEC.replace(b"1700000000", b"9" * 5000), id="absurd time"),
        pytest.param(GOOD_NTPSEC.replace(b"L: 32", b"L: 33"), id="unknown length"),
        pytest.param(GOOD_NTPSEC.replace(b"L: 32", b"L: 64"), id="keys too short for L"),
        pytest.param(GOOD_NTPSEC.replace(b"I: 1", b"I: -1"), id="negative id"),
        pytest.param(GOOD_NTPSEC.replace(b"I: 1", b"I: 4294967296"), id="id of 33 bits"),
        pytest.param(GOOD_NTPSEC.replace(b"I: 1", b"I: " + b"9" * 5000), id="absurd id"),
        pytest.param(GOOD_NTPSEC.replace(b"I: 1", b"I: 2"), id="ids share a value"),
        pytest.param(GOOD_NTPSEC.replace(b"aB", b"xB", 1), id="no hexadecimal digits"),
        pytest.param(GOOD_NTPSEC.replace(b"K: aB", b"K: B", 1), id="odd number of digits"),
        pytest.param(GOOD_NTPSEC[: GOOD_NTPSEC.rindex(b"K")], id="last key missing"),
        pytest.param(GOOD_NTPSEC[:-2], id="last key cut"),
        pytest.param(GOOD_NTPSEC.replace(b"\n", b"\r\n"), id="carriage returns"),
        pytest.param(GOOD_NTPSEC + b"\n", id="empty line"),
    ],
)
def test_what_ntpd_refuses(data):
    with pytest.raises(WireError):
        parse(NTPSEC, data)


GOOD_NTPD_RS = render(NTPD_RS, key_set(NTPD_RS), NOW)


def with_word(offset, value):
    return GOOD_NTPD_RS[:offset] + value.to_bytes(4, "big") + GOOD_NTPD_RS[offset + 4 :]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(GOOD_NTPD_RS[:19], id="header cut"),
        pytest.param(GOOD_NTPD_RS[:-1], id="last key cut"),
        pytest.param(GOOD_NTPD_RS + b"\0", id="a byte too many"),
        pytest.param(with_word(12, 4), id="primary is the number of keys"),
        pytest.param(with_word(12, 0xFFFFFFFF), id="absurd primary"),
        pytest.param(with_word(16, 3), id="fewer keys than there are"),
        pytest.param(with_word(16, 0xFFFFFFFF), id="absurd count"),
        pytest.param(bytes(20), id="no key"),
    ],
)
def test_what_ntpd_rs_refuses_or_stumbles_over(data):
    with pytest.raises(WireError):
        parse(NTPD_RS, data)


def test_ntpd_rs_ids_wrap():
    assert [key.id for key in parse(NTPD_RS, with_word(8, 0xFFFFFFFE)).keys] == [0xFFFFFFFE, 0xFFFFFFFF, 0, 1]


GOOD_NTSPOOL = render(NTSPOOL, key_set(NTSPOOL), NOW)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"ntspool-keys 1\n", id="no key"),
        pytest.param(GOOD_NTSPOOL.replace(b"keys 1", b"keys 2"), id="unknown version"),
        pytest.param(GOOD_NTSPOOL[:-1], id="no last newline"),
        pytest.param(GOOD_NTSPOOL + b"\n", id="empty line"),
        pytest.param(GOOD_NTSPOOL.replace(b"\n", b"\r\n"), id="carriage returns"),
        pytest.param(GOOD_NTSPOOL.replace(b"current", b"previous"), id="none current"),
        pytest.param(GOOD_NTSPOOL.replace(b"next", b"current"), id="two current"),
        pytest.param(GOOD_NTSPOOL.replace(b"previous", b"next"), id="roles out of order"),
        pytest.param(GOOD_NTSPOOL.replace(b"current", b"present"), id="unknown role"),
        pytest.param(GOOD_NTSPOOL.replace(b"0000abcf", b"0000ABCF"), id="upper case"),
        pytest.param(GOOD_NTSPOOL.replace(b"0000abcf", b"abcf"), id="id too short"),
        pytest.param(GOOD_NTSPOOL.replace(b"0000abcf", b"0000abce"), id="ids share a value"),
        pytest.param(GOOD_NTSPOOL.replace(b"03" * 32, b"03" * 31), id="key too short"),
        pytest.param(GOOD_NTSPOOL.replace(b"current ", b"current\xff"), id="not ASCII"),
    ],
)
def test_what_our_own_format_refuses(data):
    with pytest.raises(WireError):
        parse(NTSPOOL, data)


@pytest.mark.parametrize("cookie_format", CookieFormat)
def test_a_file_that_is_too_long_is_refused_unread(cookie_format):
    with pytest.raises(WireError, match="too long"):
        parse(cookie_format, render(cookie_format, key_set(cookie_format), NOW).ljust(MAX_FILE_LENGTH + 1, b"\n"))


@given(st.sampled_from(CookieFormat), st.binary(max_size=300))
def test_garbage_raises_nothing_but_wire_error(cookie_format, data):
    with pytest.raises(WireError):
        parse(cookie_format, data)


@given(st.sampled_from(CookieFormat), st.data())
def test_an_altered_file_raises_nothing_but_wire_error(cookie_format, data):
    original = render(cookie_format, key_set(cookie_format), NOW)
    start = data.draw(st.integers(0, len(original)))
    end = data.draw(st.integers(start, min(len(original), start + 40)))
    altered = original[:start] + data.draw(st.binary(max_size=40)) + original[end:]
    try:
        parsed = parse(cookie_format, altered)
    except WireError:
        return
    assert 0 <= parsed.current < len(parsed.keys)


@pytest.mark.parametrize("cookie_format", [CHRONY, NTPSEC, NTSPOOL])
@pytest.mark.parametrize(("old", "new"), [(b"03", b"3"), (b"03", b"zz"), (b"03" * 32, b"03" * 31)])
def test_a_refusal_quotes_no_secret(cookie_format, old, new):
    data = render(cookie_format, key_set(cookie_format), NOW).replace(old, new, 1)
    with pytest.raises(WireError) as refusal:
        parse(cookie_format, data)
    assert "0303" not in str(refusal.value)

"""What peers of the control process send: agents, gateways to agents, commands at the admin socket, DNS servers."""

import asyncio
import base64
import json
from urllib.parse import quote

import dns.message
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from ntspool.errors import LocalError, WireError
from ntspool.net import controlmessages, enrolment, handover
from ntspool.net.adminroutes import errors
from ntspool.net.dns import MALFORMED, MOST_RECORDS, read
from ntspool.net.keydesk import Delivery
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.resolving import RecordType
from ntspool.wire.secret import Secret
from tests.fuzz.cookies import key_set
from tests.fuzz.engine import Target
from tests.net.test_admin import Verbs

# Agents and gateways.

DELIVERIES = [controlmessages.encode_delivery("ntp-1", Delivery("7", each, key_set(each))) for each in CookieFormat]


def check_enrolment(data, _):
    controlmessages.decode_enrolment(data)


def check_report(data, _):
    told = controlmessages.decode_report(data)
    assert told.revision.isprintable()
    assert told.failure is None or told.failure.isprintable()
    assert controlmessages.decode_report(told.encode()) == told


def check_delivery(data, _):
    found = controlmessages.decode_delivery(data)
    assert controlmessages.decode_delivery(controlmessages.encode_delivery("ntp-1", found)) == found


def check_agents_answer(data, _):
    """Certificates, or whether a turn is granted."""
    try:
        assert controlmessages.decode_granted(data) in {True, False}
    except WireError:
        controlmessages.decode_pem(data, "certificate").decode("ascii")


def check_token(data, _):
    assert len(enrolment.pinned_authority(Secret(data))) == 32


def check_packet(data, _):
    message = handover.message_of(data)
    if message is None:
        raise WireError("not of this version")
    assert handover.message_of(handover.packet(message)) == message


# Commands.

VERBS, RUNNER = Verbs(), asyncio.Runner()
HANDLERS = {f"{each.method} {each.path}": each.handler for each in (*VERBS.routes.acting(), *VERBS.routes.reading())}
BODIES = [
    b'POST /v1/backends/{name}/weight\n{"weight": 7}',
    b'POST /v1/keys/revoke\n{"epoch": 3}',
    b"POST /v1/keys/rotate\n",
    b"POST /v1/backends/{name}/drain\n{}",
    b'POST /v1/cluster/forget\n{"gateway": "west"}',
    b"GET /v1/events\nafter=7&wait=1.5",
    b"GET /v1/backends/{name}\n",
]


def check_command(data, _):
    line, _, body = data.partition(b"\n")
    resource = line.decode("latin-1")
    if resource not in HANDLERS:
        raise WireError("no such resource")
    VERBS.done.clear()
    status = RUNNER.run(answer(resource, body))
    assert status in {200, 400, 404, 409}
    if status == 400:
        raise WireError("refused")


async def answer(resource, body):
    method, _, path = resource.partition(" ")
    payload = StreamReader(BaseProtocol(asyncio.get_running_loop()), 2**16, loop=asyncio.get_running_loop())
    payload.feed_data(body)
    payload.feed_eof()
    query = f"?{quote(body, safe='=&%+')}" if method == "GET" else ""
    target = quote(path.replace("{name}", "ntp-1")) + query
    request = make_mocked_request(method, target, payload=payload, match_info={"name": "ntp-1"})
    response = await errors(request, HANDLERS[resource])
    assert json.loads(response.text) is not None
    return response.status


# DNS servers.


def dns_answer(kind, *records):
    query = dns.message.make_query("ntp.example", kind, id=7)
    response = dns.message.make_response(query)
    response.answer = [dns.rrset.from_text("ntp.example.", 300, "IN", kind, *records)] if records else []
    return kind.encode() + b" " + response.to_wire()


DNS_ANSWERS = [
    dns_answer("A", "192.0.2.1", "192.0.2.2"),
    dns_answer("AAAA", "2001:db8::1"),
    dns_answer("SRV", "1 2 4460 a.example.", "0 0 0 ."),
    dns_answer("A"),
    b"A " + dns_answer("CNAME", "b.example.").partition(b" ")[2],
]


def check_dns_answer(data, _):
    name, _, wire = data.partition(b" ")
    try:
        kind = RecordType(name.decode("latin-1"))
        response = dns.message.from_wire(wire)
    except MALFORMED:  # a ValueError, if it is no type
        raise WireError("not a DNS message of these types") from None
    answer, ttl, _ = read(response, kind, 3600.0)
    assert ttl >= 0
    assert len(answer.records) <= MOST_RECORDS[kind]


ENROLMENT = controlmessages.Enrolment(Secret(b"token"), b"-----BEGIN\n").encode()
REPORT = controlmessages.Report("7", (1, 2), "no\x1b[2J").encode()
AGENTS_ANSWERS = [
    controlmessages.encode_granted(granted=True),
    controlmessages.encode_certificates(certificate=b"-----BEGIN\n", ca=b"-----BEGIN\n"),
]
TOKEN = b"ntspool1-" + base64.urlsafe_b64encode(bytes(range(200, 248)))
TARGETS = [
    Target(
        "enrolment", "Gives a token and a request for a certificate, or WireError.", 3_000, [ENROLMENT], check_enrolment
    ),
    Target(
        "agent's report",
        "Gives a report that is written as it was read, with printable words, or WireError.",
        5_000,
        [REPORT],
        check_report,
    ),
    Target(
        "delivery of keys",
        "Gives keys that are written as they were read, or WireError.",
        5_000,
        DELIVERIES,
        check_delivery,
    ),
    Target(
        "answer to an agent",
        "Gives a yes, a no or text in ASCII, or WireError.",
        2_000,
        AGENTS_ANSWERS,
        check_agents_answer,
    ),
    Target(
        "enrolment token",
        "Gives the SHA-256 that it pins, or LocalError.",
        2_000,
        [TOKEN],
        check_token,
        refusals=(LocalError,),
    ),
    Target(
        "handover's packet",
        "Gives a message of this version, or nothing.",
        2_000,
        [handover.packet("go")],
        check_packet,
    ),
    Target(
        "admin command",
        "Is answered in JSON, with 200 for what is well-formed, else 400, 404 or 409.",
        1_000,
        BODIES,
        check_command,
    ),
    Target(
        "DNS answer",
        "Gives records of bounded number and a time to live, or WireError.",
        3_000,
        DNS_ANSWERS,
        check_dns_answer,
    ),
]

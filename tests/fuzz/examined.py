"""What `ntspool check` sees of servers that it does not know, however wrong they are: nothing of that may raise."""

from ntspool.errors import WireError
from ntspool.pool import nts
from ntspool.pool.exam import handouts, response
from ntspool.pool.exam.conversation import Conversation, Ending, Kind, Reached
from ntspool.pool.exam.handouts import Asked
from ntspool.pool.exam.volleys import Purpose, Reply, Visit, Volley, server_facts
from ntspool.pool.exam.volleys import Target as Visited
from ntspool.wire import ntp
from ntspool.wire.aead import Aead
from tests.fuzz.engine import Target, record_lengths
from tests.fuzz.negotiation import KE_RESPONSES
from tests.fuzz.packets import PLAIN


def check_answer(data, _):
    seen = Conversation(
        "192.0.2.1", "pool.example.com", Reached.TLS, data=data, pieces=1, answered=0.1, ending=Ending.CLOSE_NOTIFY
    )
    found = [*response.judge_answer(seen), *handouts.judge_handouts([Asked(None, seen), Asked(0, seen)])]
    assert all(each.text.isprintable() for each in found)
    if seen.outcome.kind is not Kind.COOKIES:
        raise WireError("no cookies")


def check_reply(data, _):
    header = ntp.decode_header(data)
    reply = Reply(header, nts.measure(header, 1.8e9, 1.8e9), 1.8e9, (100,), 48, len(data))
    visit = Visit(Visited("a.example", "192.0.2.1", 123), (Volley(Purpose.COOKIE, Aead.AES_SIV_CMAC_256, reply),))
    facts = server_facts(visit)
    assert facts.reference.isprintable()
    assert facts.root_distance >= 0


TARGETS = [
    Target(
        "examined answer",
        "Gives verdicts in printable words, whatever the answer is.",
        1_000,
        KE_RESPONSES,
        check_answer,
        record_lengths,
    ),
    Target(
        "examined reply",
        "Gives facts that are printable, or WireError.",
        3_000,
        PLAIN,
        check_reply,
    ),
]

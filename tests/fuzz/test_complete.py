"""Every decoder of bytes from outside is reached by a target, or it stands here why not."""

import ast
import sys
from pathlib import Path
from random import Random

import ntspool
from tests.fuzz import corpus
from tests.fuzz.targets import TARGETS

ROOT = Path(ntspool.__file__).parent
PARSERS = {
    *("loads", "b64decode", "unhexlify", "fromhex", "from_wire", "compose", "open_database"),
    *("load_pem_x509_certificate", "load_pem_x509_certificates", "load_der_x509_certificate", "load_pem_x509_csr"),
    "load_pem_private_key",
}
"""Functions of libraries that take apart what somebody else wrote."""

ELSEWHERE = {
    "reads a socket: bounds what comes, and hands it on to a decoder": {
        "net/agentclient.py:AgentClient.renew.renewed",
        "net/agentclient.py:_read",
        "net/dns.py:_ask",
        "net/dns.py:_follow",
        "net/etcd.py:_read",
        "net/etcd.py:_lines",
        "net/keserver.py:_Peer._advance",
    },
    "what comes is another process's of this machine, of our own user or root": {
        "app/adminclient.py:_exchange",
        "net/channel.py:Channel.receive",
    },
    "what comes is verified: TLS stands, and the certificate is our authority's": {
        "net/clienttls.py:ClientEnd.receive_data",
        "net/controlcalls.py:Calls._caller",
        "net/fastssl.py:FastEnd._check_alpn",
    },
    "no library needs it where this runs": {
        "net/servertls.py:PublicEnd.receive_data",
        "pool/ciphers.py:Emptied.open",
    },
    "is two lines around a function that is reached": {
        "net/exam/examine.py:_covers",
    },
}
"""Functions that no target reaches, by the reason."""


def decoders(path):
    """Yield the functions of a module that raise WireError or call one of PARSERS themselves."""
    stack = [("", ast.parse(path.read_text()))]
    while stack:
        name, node = stack.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{name}.{child.name}" if name else child.name
                stack.append((inner, child))
                if not isinstance(child, ast.ClassDef) and any(map(decodes, own(child))):
                    yield f"{path.relative_to(ROOT)}:{inner}"


def own(function):
    """Yield what is in a function, but not in functions within it."""
    for child in ast.iter_child_nodes(function):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from own(child)


def decodes(node):
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        return name_of(node.exc.func) == "WireError"
    return isinstance(node, ast.Call) and name_of(node.func) in PARSERS


def name_of(function):
    return getattr(function, "attr", getattr(function, "id", ""))


def reached():
    """Return which functions of ours are called by the samples and the corpora of all targets."""
    found = set()

    def note(frame, event, _):
        if event == "call":
            found.add(frame.f_code)

    for target in TARGETS.values():
        for case in (*target.samples, *corpus.load(target.name)):
            sys.setprofile(note)
            try:
                target.try_one(case, Random(case))
            finally:
                sys.setprofile(None)
    ours = (code for code in found if code.co_filename.startswith(str(ROOT)))
    return {f"{Path(code.co_filename).relative_to(ROOT)}:{code.co_qualname.replace('.<locals>', '')}" for code in ours}


def test_every_decoder_is_reached_by_a_target_or_stands_here():
    there = {name for path in ROOT.rglob("*.py") for name in decoders(path)}
    elsewhere = set().union(*ELSEWHERE.values())
    assert elsewhere <= there
    assert there - reached() <= elsewhere

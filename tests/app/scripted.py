"""A gateway that is nothing but answers: what commands ask, and what they make of what they are told."""

import io
import json
import socketserver
import sys
import threading
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from unittest import mock

from ntspool.app.cli import main


@dataclass
class Scripted:
    """Answers by method and resource: a value, a (status, value), or what a callable makes of the request's body.

    `asked` are the requests that came, with their bodies.
    """

    socket: Path
    answers: dict[tuple[str, str], object]
    asked: list[tuple[str, str, object]] = field(default_factory=list)

    def answer(self, method, resource, body):
        self.asked.append((method, resource, body))
        known = self.answers.get((method, resource), (404, {"error": f"nothing at {resource}"}))
        answer = known(body) if callable(known) else known
        return answer if isinstance(answer, tuple) else (200, answer)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextmanager
def scripted(path, answers):
    """Serve `answers` at the socket `path`."""
    script = Scripted(path, answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, answer = script.answer(self.command, self.path, body)
            if answer is None:  # the gateway dies
                self.close_connection = True
                return
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _serve  # noqa: N815  what BaseHTTPRequestHandler calls

        def address_string(self):
            return "a command"

        def log_message(self, *_):
            pass

    with _Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield script
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


def command(*words: object) -> Ended:
    """Run a command of ntspool in this process."""
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.object(sys, "argv", ["ntspool", *map(str, words)]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            return Ended(int(end.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("main always exits")

"""The file of what names last resolved to, for a gateway that starts while the DNS is down."""

import json
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from ntspool.errors import StateError
from ntspool.pool.resolving import UNKNOWN, Knowledge, Known, Question, Record, RecordType, Target, recalled

_VERSION = 1


def encode(questions: Iterable[Question], knowledge: Knowledge) -> bytes:
    """Return the last good records of `questions` as JSON; `decode` is its inverse."""
    names: dict[str, dict[str, list[Any]]] = {}
    for question in sorted(questions, key=lambda question: question.name):
        known = knowledge.get(question, UNKNOWN)
        records = {kind.value: [_plain(each) for each in known.records.get(kind, ())] for kind in question.types}
        if any(records.values()):
            names[question.name] = records
    return json.dumps({"version": _VERSION, "names": names}, indent=1).encode()


def decode(data: bytes) -> dict[Question, Known]:
    """Return what `encode` was given; raises StateError when `data` is none of its making."""
    try:
        held = json.loads(data)
        if held["version"] != _VERSION:
            raise StateError(f"version {held['version']} is not known here")
        return {_question(name, kept): recalled(_records(kept)) for name, kept in held["names"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise StateError("not written by ntspool, or damaged") from error


def _question(name: str, kept: dict[str, Any]) -> Question:
    return Question.service(name) if RecordType.SRV in kept else Question.host(name)


def _records(kept: dict[str, list[Any]]) -> dict[RecordType, tuple[Record, ...]]:
    return {RecordType(kind): tuple(_record(RecordType(kind), each) for each in plain) for kind, plain in kept.items()}


def _plain(record: Record) -> Any:  # noqa: ANN401  what JSON can hold
    if isinstance(record, Target):
        return [record.priority, record.weight, record.port, record.host]
    return str(record)


def _record(kind: RecordType, plain: Any) -> Record:  # noqa: ANN401
    match kind:
        case RecordType.A:
            return IPv4Address(str(plain))
        case RecordType.AAAA:
            return IPv6Address(str(plain))
        case RecordType.SRV:
            priority, weight, port, host = plain
            return Target(int(priority), int(weight), int(port), str(host))

"""What `ntspool check` prints for people: findings by section, and the tables that they rest on."""

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap

from ntspool.app.checktables import SECTION_TABLES, moment_and_cost, place
from ntspool.pool.exam.model import Examination, Finding, Section, Verdict

TITLES = {
    Section.DNS: "Name",
    Section.TCP: "Addresses",
    Section.TLS: "TLS",
    Section.KE: "Key exchange",
    Section.SERVERS: "Servers handed out",
    Section.NTP: "Time",
}
"""What the parts of the report are called."""

_RESULT = "Result"
_NAMED = 2
"""How many addresses are named, unless it is a FAIL."""

_HANGING = " " * len("  PASS  ")
_TELLING = (Verdict.FAIL, Verdict.NOTE)
_WORST_FIRST = (Verdict.FAIL, Verdict.NOTE, Verdict.PASS, Verdict.SKIP)


def report(examination: Examination, *, brief: bool = False, width: int | None = None) -> str:
    """Return the whole report; `brief` leaves out what is a PASS, and the tables.

    Findings are wrapped to `width` columns; for None each is one line, for grep.
    """
    parts = [f"{place(examination.plan.host, examination.plan.port)}, {moment_and_cost(examination)}\n"]
    for section in Section:
        findings = [each for each in examination.of(section) if not brief or each.verdict in _TELLING]
        tables = [] if brief else SECTION_TABLES[section](examination)
        if findings or tables:
            parts.append("\n".join([_part(TITLES[section], _merged(findings), width), *tables]))
    result = [summary(examination), *_merged(examination.failed)]
    parts.append(_part(_RESULT, result, width))
    return "\n".join(parts)


def _part(title: str, findings: Iterable[str], width: int | None) -> str:
    told = [line for each in findings for line in _wrapped(f"  {each}", width)]
    return "".join(f"{line}\n" for line in (title, *told))


def _wrapped(line: str, width: int | None) -> list[str]:
    if width is None:
        return [line]
    return wrap(line, max(width, 40), subsequent_indent=_HANGING, break_long_words=False, break_on_hyphens=False)


def headings() -> Sequence[str]:
    """Return the lines that begin a part, for who makes them stand out."""
    return [*TITLES.values(), _RESULT]


def summary(examination: Examination) -> str:
    """Return the numbers of verdicts, as `2 FAIL, 1 NOTE, 30 PASS`; SKIP only where there is one."""
    counts = [(examination.count(each), each) for each in _WORST_FIRST]
    return ", ".join(f"{count} {each.upper()}" for count, each in counts if count or each is not Verdict.SKIP)


def _merged(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield a line for each finding, one for all of several addresses that say the same."""
    alike: dict[tuple[str, str, str], list[Finding]] = {}
    for each in findings:
        alike.setdefault((each.id, each.verdict, each.text), []).append(each)
    for (name, verdict, text), group in alike.items():
        yield f"{verdict.upper()}  {name}{_where(group)}: {text}{_source(group[0])}"


def _where(group: Sequence[Finding]) -> str:
    addresses = [each.address for each in group if each.address]
    if len(addresses) > _NAMED and group[0].verdict is not Verdict.FAIL:
        return f" ({addresses[0]} and {len(addresses) - 1} more)"
    return f" ({', '.join(addresses)})" if addresses else ""


def _source(finding: Finding) -> str:
    if not finding.rfc:
        return ""
    return f" [deviates from {finding.rfc}]" if finding.deviation else f" [{finding.rfc}]"

"""What `ntspool check` prints for machines: one JSON object, and JUnit XML for those that collect test results."""

import json
import re
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

from ntspool.pool.exam.model import Examination, Finding, Section, Verdict
from ntspool.pool.exam.plan import Plan

# XML 1.0 has no way to write these, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_json(examination: Examination) -> str:
    """Return all that was found as one line of JSON; the keys are the fields of the model."""
    told = asdict(examination)
    told["plan"] = _plan(examination.plan)
    told["result"] = {each.value: examination.count(each) for each in Verdict}
    for each, finding in zip(told["findings"], examination.findings, strict=True):
        each["section"] = finding.section.value
    return json.dumps(told)


def as_junit(examination: Examination) -> str:
    """Return the findings as test cases, one suite for each section, as Jenkins and GitLab read them."""
    name = f"ntspool check {examination.plan.host}:{examination.plan.port}"
    root = ElementTree.Element(
        "testsuites", {"name": name, "time": f"{examination.elapsed:.3f}"} | _counts(examination.findings)
    )
    for section in Section:
        if findings := examination.of(section):
            root.append(_suite(examination, section, findings))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _plan(plan: Plan) -> dict[str, Any]:
    told = asdict(plan)
    return told | {"ca": None if plan.ca is None else str(plan.ca)}


def _suite(examination: Examination, section: Section, findings: tuple[Finding, ...]) -> ElementTree.Element:
    began = datetime.fromtimestamp(examination.began, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    attributes = {"name": section.value, "timestamp": began, "hostname": examination.plan.host, "time": "0"}
    suite = ElementTree.Element("testsuite", attributes | _counts(findings))
    suite.extend(_case(each) for each in findings)
    return suite


def _case(finding: Finding) -> ElementTree.Element:
    name = f"{finding.id} {finding.address}".strip()
    case = ElementTree.Element("testcase", classname=f"nts.{finding.section}", name=_clean(name), time="0")
    told = _clean(f"{finding.text} [{finding.rfc}]" if finding.rfc else finding.text)
    match finding.verdict:
        case Verdict.FAIL:
            ElementTree.SubElement(case, "failure", type=finding.id, message=_clean(finding.text)).text = told
        case Verdict.SKIP:
            ElementTree.SubElement(case, "skipped", message=_clean(finding.text))
        case Verdict.PASS | Verdict.NOTE:
            ElementTree.SubElement(case, "system-out").text = f"{finding.verdict.upper()}: {told}"
    return case


def _counts(findings: tuple[Finding, ...]) -> dict[str, str]:
    verdicts = [each.verdict for each in findings]
    numbers = {"failures": verdicts.count(Verdict.FAIL), "skipped": verdicts.count(Verdict.SKIP), "errors": 0}
    return {"tests": str(len(findings))} | {key: str(number) for key, number in numbers.items()}


def _clean(text: str) -> str:
    return _NOT_XML.sub("?", text)

"""The report for continuous integration: JUnit XML, which every CI shows."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from xml.etree.ElementTree import Element, SubElement

from lstm_oracle.diagnosis.findings import Diagnosis, Finding
from lstm_oracle.diagnosis.report import wording
from lstm_oracle.diagnosis.report.wording import clean, line

_SUITE = "lstm-oracle diagnose"


def junit(diagnosis: Diagnosis) -> str:
    """JUnit XML: a test case per finding, per cause ruled out and per cause not tested.

    Errors and warnings are failures; notes pass, with their text as output; what was ruled out
    passes; what was not tested is skipped, with what it would need.
    """
    findings = diagnosis.findings
    failures = [item for item in findings if item.severity in ("error", "warning")]
    notes = [item for item in findings if item.severity not in ("error", "warning")]
    suite = Element("testsuite", name=_SUITE)
    for finding in failures:
        failure = SubElement(
            _case(suite, _name(finding)),
            "failure",
            type=clean(finding.cause),
            message=line(finding.summary),
        )
        failure.text = _details(finding)
    for finding in notes:
        SubElement(_case(suite, _name(finding)), "system-out").text = _details(finding)
    for ruled_out in diagnosis.ruled_out:
        case = _case(suite, f"{line(ruled_out.cause)}: {line(ruled_out.test)}")
        SubElement(case, "system-out").text = clean(ruled_out.result)
    for skipped in diagnosis.not_tested:
        SubElement(_case(suite, line(skipped.cause)), "skipped", message=line(skipped.needs))
    if diagnosis.undecided:
        case = _case(suite, "undecided")
        SubElement(case, "skipped", message=line(diagnosis.undecided))
    if not len(suite):
        _case(suite, "healthy")  # some servers take a suite without a case for a crash
    totals = {
        "tests": str(len(suite)),
        "failures": str(len(failures)),
        "errors": "0",
        "skipped": str(len(diagnosis.not_tested) + bool(diagnosis.undecided)),
        "time": f"{wording.total_seconds(diagnosis.seconds):.3f}",
    }
    for name, total in totals.items():
        suite.set(name, total)
    SubElement(suite, "system-out").text = clean(diagnosis.verdict)
    root = Element("testsuites", {"name": _SUITE, **totals})
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def _case(suite: Element, name: str) -> Element:
    return SubElement(suite, "testcase", classname=_SUITE, name=name, time="0")


def _name(finding: Finding) -> str:
    where = f" in {line(finding.layer)}" if finding.layer else ""
    return f"{line(finding.id)} {finding.cause}{where}"


def _details(finding: Finding) -> str:
    parts = [finding.summary, f"confidence {wording.percent(finding.confidence)}"]
    parts += [
        f"{item.name}: {wording.with_unit(item.value, item.unit)} "
        f"{wording.interval(item.interval)} held against {wording.show(item.limit)} {item.source}"
        for item in finding.evidence
    ]
    if finding.remedy is not None:
        parts += [f"remedy: {finding.remedy.text}", wording.effect(finding), finding.remedy.code]
    return clean("\n".join(part for part in parts if part))

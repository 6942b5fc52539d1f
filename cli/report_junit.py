"""Reports as JUnit XML, which every CI service shows: a test case per case or layer."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from lstm_oracle.cli.report_table import told
from lstm_oracle.conformance.report import CaseReport, ImplementationReport, ModelReport

# All that XML 1.0 cannot hold, however it is escaped.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def implementations_junit(reports: Sequence[ImplementationReport]) -> str:
    """A test suite per implementation."""
    root = ET.Element("testsuites", name="lstm-oracle verify")
    for report in reports:
        cases = [(case.name, case) for case in report.cases]
        if report.unavailable:
            cases = [("available", _missing(report))]
        _suite(root, report.implementation, cases, report.seconds)
    return _text(root)


def model_junit(report: ModelReport) -> str:
    """One test suite, a test case per call of a layer."""
    root = ET.Element("testsuites", name="lstm-oracle verify")
    cases = [
        (f"{layer.case.name}#{layer.call + 1}" if layer.call else layer.case.name, layer.case)
        for layer in report.layers
    ]
    _suite(root, f"{report.model} on {report.backend}", cases, report.seconds)
    return _text(root)


def _missing(report: ImplementationReport) -> CaseReport:
    return CaseReport("available", "unsupported", "", message=report.unavailable)


def _suite(
    root: ET.Element, name: str, cases: Sequence[tuple[str, CaseReport]], seconds: float
) -> None:
    counts = [case.status for _, case in cases]
    suite = ET.SubElement(
        root,
        "testsuite",
        name=_clean(name),
        tests=str(len(cases)),
        failures=str(counts.count("disagree")),
        errors=str(counts.count("error")),
        skipped=str(counts.count("unsupported")),
        time=f"{seconds:.3f}",
    )
    for case_name, case in cases:
        _test_case(suite, name, case_name, case)


def _test_case(suite: ET.Element, class_name: str, name: str, case: CaseReport) -> None:
    # Dots in a class name are taken for packages.
    element = ET.SubElement(
        suite, "testcase", classname=_clean(class_name).replace(".", "/"), name=_clean(name)
    )
    tag = {"disagree": "failure", "error": "error", "unsupported": "skipped"}.get(case.status)
    if tag is None:
        return
    text = case.message if case.status == "unsupported" else told(case)
    verdict = ET.SubElement(element, tag, message=_clean(text))
    if case.status == "unsupported":
        return
    verdict.set("type", "known defect" if case.explanation else case.status)
    verdict.text = _clean(case.explanation or text)


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("?", text)


def _text(root: ET.Element) -> str:
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"

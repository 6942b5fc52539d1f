"""A diagnosis reads the same in every format, and nothing that strangers put in it does harm."""

from __future__ import annotations

import json
import re
import unicodedata
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser

import jsonschema
import pytest

from lstm_oracle.diagnosis import catalog
from lstm_oracle.diagnosis.findings import CAUSES, Diagnosis, Figure, Finding, Remedy
from lstm_oracle.diagnosis.report import html, junit, text
from lstm_oracle.diagnosis.report.markdown import to_html
from tests import diagnosis_samples as samples

DIAGNOSES = {
    name: getattr(samples, name)() for name in ("rich", "healthy", "empty", "hostile", "crowded")
}
VOID = {"meta", "br", "hr", "img", "input", "link", "col"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails where tags are not closed in their order."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), (tag, attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


@pytest.fixture(scope="module")
def pages():
    return {name: (source := html(d), Page(source)) for name, d in DIAGNOSES.items()}


# --- HTML -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DIAGNOSES)
def test_page_is_self_contained(pages, name):
    source, page = pages[name]
    assert page.count("script") == page.count("iframe") == page.count("link") == 0
    for tag, attributes in page.tags:
        assert not [a for a in attributes if a.startswith("on")], tag
        for attribute in ("src", "href", "xlink:href", "action", "srcset", "data", "poster"):
            address = attributes.get(attribute) or "#"
            assert address.startswith(("#", "data:image/png;base64,")), (tag, attribute)
    assert "url(" not in source
    assert "@import" not in source
    assert "http" not in source.replace("http-equiv", "")


@pytest.mark.parametrize("name", DIAGNOSES)
def test_page_forbids_whatever_it_does_not_need(pages, name):
    policies = [
        attributes["content"]
        for tag, attributes in pages[name][1].tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


@pytest.mark.parametrize("name", DIAGNOSES)
def test_page_stays_under_two_megabytes_and_can_be_written(pages, name):
    assert len(pages[name][0].encode("utf-8")) < 2_000_000


def test_strings_of_strangers_arrive_as_text(pages):
    source, page = pages["hostile"]
    assert "<script" not in source
    assert page.text.count("<script>alert('x')</script>&\"']]>") > 20
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e\ud800-\udfff]", source)


def test_page_shows_verdict_findings_code_effect_and_cost(pages):
    _, page = pages["rich"]
    for expected in (
        DIAGNOSES["rich"].verdict,
        "inputs-unscaled",
        "normalize.adapt(x_train)",
        "0.02 → ",
        "gain +0.87",
        "[+0.81, +0.92]",
        "gradient boosting on window statistics",
        "What would refute this",
        "A consequence of LSTM010",
        "Advice: this remedy was not tried.",
        "24 s",
        "tensorflow 2.21.0",
    ):
        assert expected in page.text, expected


def test_every_figure_has_its_numbers_in_a_table_beside_it(pages):
    figures = [f for finding in DIAGNOSES["rich"].findings for f in finding.figures]
    _, page = pages["rich"]
    assert page.count("figure") == len(figures) == 7
    assert page.text.count("The numbers of this figure") == len(figures)
    assert sum(attributes.get("role") == "img" for _, attributes in page.tags) == len(figures)


def test_figure_that_cannot_be_drawn_is_named_with_its_reason(pages):
    broken = Figure("curves", "Loss", "epoch", "loss", {"a": {"x": [1, 2], "y": [1]}})
    page = Page(html(replace(samples.healthy(), figures=(broken,))))
    assert "Not drawn: figure 'Loss': series 'a' has 2 x and 1 y" in page.text


def test_every_in_page_link_leads_somewhere(pages):
    _, page = pages["crowded"]
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = {attributes["href"][1:] for tag, attributes in page.tags if tag == "a"}
    assert len(links) == 20
    assert links <= ids


def test_page_of_a_finding_keeps_code_lists_and_angle_brackets():
    shown = to_html(
        "# A\n\ntext `a<b` **c**\n\n```python\nx = 1 < 2\n\ny\n```\n\n- one\n  more\n- two\n"
    )
    assert shown == (
        "<h1>A</h1><p>text <code>a&lt;b</code> <b>c</b></p><pre tabindex=0><code>x = 1 &lt; 2\n\ny"
        "</code></pre><ul><li>one more</li><li>two</li></ul>"
    )


# --- text -----------------------------------------------------------------------------------------


def columns(line: str) -> int:
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in line
    )


@pytest.mark.parametrize("width", [40, 80, 133])
@pytest.mark.parametrize("name", DIAGNOSES)
def test_text_fits_the_width_asked_for(name, width):
    findings = [
        replace(finding, remedy=finding.remedy and replace(finding.remedy, code="x = 1"))
        for finding in DIAGNOSES[name].findings  # code is shown as it has to be typed
    ]
    lines = text(replace(DIAGNOSES[name], findings=tuple(findings)), width).splitlines()
    assert [line for line in lines if columns(line) > width] == []


def test_text_narrower_than_forty_columns_is_forty_wide():
    assert text(samples.rich(), 7) == text(samples.rich(), 40)


def test_text_says_the_verdict_first_and_ranks_the_findings():
    shown = text(samples.rich(), 80)
    order = ["The network does not train", "1. ERROR  LSTM010", "2. WARNING  LSTM120", "3. NOTE"]
    order += ["\nNot a bug", "\nRuled out", "\nNot tested", "\ncost"]
    places = [shown.index(part) for part in order]
    assert places == sorted(places)
    assert "skill 0.02 -> 0.89, gain +0.87, over seeds [+0.81, +0.92]" in shown
    assert "            normalize.adapt(x_train)\n" in shown
    assert "lstm-oracle explain LSTM010" in shown


def test_text_is_coloured_only_when_asked_and_only_with_whole_escapes():
    plain, coloured = (text(samples.rich(), 80, colour=c) for c in (None, True))
    assert "\x1b" not in plain
    assert coloured.count("\x1b[0m") * 2 == coloured.count("\x1b") > 0
    assert re.sub("\x1b\\[[0-9;]*m", "", coloured) == plain


def test_text_of_strangers_cannot_command_the_terminal():
    shown = text(samples.hostile(), 80)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    shown.encode("utf-8")


def test_printing_a_diagnosis_prints_its_text():
    assert str(samples.healthy()) == text(samples.healthy())


# --- JUnit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DIAGNOSES)
def test_junit_parses_and_its_counts_are_those_of_its_cases(name):
    root = ElementTree.fromstring(junit(DIAGNOSES[name]).encode("utf-8"))
    (suite,) = root.findall("testsuite")
    cases = suite.findall("testcase")
    assert root.get("tests") == suite.get("tests") == str(len(cases)) != "0"
    assert suite.get("failures") == str(len(suite.findall("testcase/failure")))
    assert suite.get("skipped") == str(len(suite.findall("testcase/skipped")))
    assert (suite.get("failures") == "0") == DIAGNOSES[name].healthy


def test_junit_fails_for_errors_and_warnings_passes_notes_and_skips_the_untested():
    suite = ElementTree.fromstring(junit(samples.rich()).encode("utf-8"))[0]
    kinds = {case.get("name"): [child.tag for child in case] for case in suite.findall("testcase")}
    assert kinds["LSTM010 data-scale in lstm_1"] == ["failure"]
    assert kinds["LSTM120 vanishing-gradient in lstm_1"] == ["failure"]
    assert kinds["LSTM151 class-imbalance"] == ["system-out"]
    assert kinds["no-signal: gradient boosting on window statistics"] == ["system-out"]
    assert kinds["data-split"] == ["skipped"]
    (failure, _) = suite.findall("testcase/failure")
    assert failure.get("type") == "data-scale"
    assert "normalize.adapt(x_train)" in failure.text


# --- JSON -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def schema(repository):
    schema = json.loads((repository / "docs" / "diagnosis.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", ["rich", "healthy", "empty"])
def test_json_is_as_its_published_schema_says(schema, name):
    schema.validate(json.loads(DIAGNOSES[name].to_json()))


def test_json_of_the_worst_numbers_breaks_the_schema_only_where_they_are_required(schema):
    plain = json.loads(samples.hostile().to_json())
    broken = {tuple(error.absolute_path) for error in schema.iter_errors(plain)}
    assert broken == {("findings", 0, "id"), ("findings", 0, "confidence")}


def test_schema_refuses_what_a_diagnosis_never_writes(schema):
    good = json.loads(samples.rich().to_json())
    for change in (
        {"schema": 2},
        {"healthy": "yes"},
        {"findings": [{**good["findings"][0], "cause": "bad-luck"}]},
        {"findings": [{**good["findings"][0], "severity": "fatal"}]},
        {"findings": [{**good["findings"][0], "confidence": 1.5}]},
        {"figures": [{"kind": "pie"}]},
        {"extra": 1},
    ):
        assert not schema.is_valid({**good, **change}), change


def test_schema_knows_exactly_the_causes(schema):
    assert sorted(schema.schema["$defs"]["cause"]["enum"]) == sorted(CAUSES)


# --- catalog --------------------------------------------------------------------------------------

SECTIONS = [
    "What it means",
    "How it is measured",
    "What to do",
    "How to silence it",
    "What it cannot tell",
    "References",
]


@pytest.mark.parametrize("id", catalog.ENTRIES)
def test_page_of_every_finding_says_all_that_it_must(id):
    entry = catalog.entry(id)
    lines = entry.page.splitlines()
    assert lines[0] == f"# {id} {entry.name}"
    assert lines[2] == f"{entry.title}. Cause: `{entry.cause}`."
    assert re.findall(r"^## (.*)", entry.page, flags=re.M) == SECTIONS
    bodies = re.split(r"^## .*\n", entry.page, flags=re.M)[1:]
    assert [
        title for title, body in zip(SECTIONS, bodies, strict=True) if len(body.split()) < 4
    ] == []
    assert "```python\n" in bodies[2]
    assert id in bodies[3]
    assert max(map(len, lines)) <= 100
    Page(to_html(entry.page))


@pytest.mark.parametrize("id", catalog.ENTRIES)
def test_code_on_the_pages_is_python(id):
    codes = re.findall(r"^```python\n(.*?)^```", catalog.entry(id).page, flags=re.M | re.S)
    for code in codes:
        compile(code, id, "exec")


def test_every_page_belongs_to_a_finding(repository):
    files = {path.stem for path in (repository / "diagnosis" / "pages").iterdir()}
    assert files == set(catalog.ENTRIES)


def test_causes_of_the_catalog_are_the_causes_that_users_rely_on():
    assert {entry.cause for entry in catalog.ENTRIES.values()} == set(CAUSES)


def test_names_and_titles_of_findings_are_distinct():
    entries = catalog.ENTRIES.values()
    assert len({entry.name for entry in entries}) == len(catalog.ENTRIES)
    assert len({entry.title for entry in entries}) == len(catalog.ENTRIES)


@pytest.mark.parametrize(
    ("asked", "named"),
    [("LSTM015", "LSTM010"), ("LSTM999", "LSTM"), ("vanishing", "LSTM120"), ("", "LSTM001")],
)
def test_unknown_finding_is_refused_with_the_nearest_ones(asked, named):
    with pytest.raises(ValueError, match="expected an id such as 'LSTM010'") as refused:
        catalog.entry(asked)
    assert named in str(refused.value)


# --- odd diagnoses --------------------------------------------------------------------------------


@pytest.mark.parametrize("show", [html, junit, lambda d: text(d, 60)])
@pytest.mark.parametrize(
    "remedy",
    [
        None,
        Remedy("k", "text"),
        Remedy("k", "text", tried=True),
        Remedy("k", "text", tried=True, before=0.1),
        Remedy("k", "text", tried=True, before=-3.0, after=0.5, gain_interval=(1.0, 6.0)),
    ],
)
def test_remedy_with_numbers_missing_is_still_shown(show, remedy):
    finding = Finding("LSTM090", "too-small", "warning", 0.5, "summary of it", remedy=remedy)
    shown = show(Diagnosis((finding,), "verdict"))
    assert "summary of it" in shown
    assert remedy is None or "text" in shown
    assert "None" not in shown

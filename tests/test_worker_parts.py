"""What a worker says of a case, and what is made of it: the parts, in this process.

`test_conformance_worker` holds the whole, in processes of their own.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import os
import threading
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pytest

from lstm_oracle.conformance import matrix, runner, textbook, worker, zoo
from lstm_oracle.conformance.adapters.registry import Implementation
from lstm_oracle.conformance.adapters.support import key
from lstm_oracle.conformance.report import BlockError, CaseReport
from lstm_oracle.conformance.yardstick import Deviation, yardstick

ROW = Implementation("ours", "nowhere:adapter", backend="numpy")


class Adapter:
    """The textbook, and what a subclass makes of it."""

    def unsupported(self, case):
        return ""

    def run(self, case):
        return textbook.run(case)

    def versions(self):
        return {"textbook": "1.0"}


class Unwilling(Adapter):
    def unsupported(self, case):
        return "no luck"


class Raising(Adapter):
    def run(self, case):
        raise RuntimeError("no\n  luck")


class Wrong(Adapter):
    def run(self, case):
        return dataclasses.replace(super().run(case), d_x=np.zeros_like(case.x))


def quick(dtype="float32"):
    return matrix.cases("quick", (dtype,))


@pytest.fixture
def told(monkeypatch):
    """What is known, and which cases the zoo was asked about."""
    found = SimpleNamespace(known="", unknown=(), asked=[])

    def explain(name, backend, versions, case, report=None):
        assert (name, backend, versions) == ("ours", "numpy", {"textbook": "1.0"})
        assert report is None or report.status == "disagree"
        return "" if case.name in found.unknown else found.known

    def nearest(case, result):
        found.asked.append(case.name)
        return "a-bug: It is one."

    monkeypatch.setattr(worker, "explain", explain)
    monkeypatch.setattr(zoo, "nearest_bug", nearest)
    return found


# --- the worker -----------------------------------------------------------------------------------


def test_a_case_agrees_is_unsupported_breaks_or_disagrees(told):
    case = quick()[0]
    right = worker.run_case(ROW, Adapter(), case)
    assert (right.status, right.name, told.asked) == ("agree", case.name, [])
    unable = worker.run_case(ROW, Unwilling(), case)
    assert (unable.status, unable.message, unable.dtype) == ("unsupported", "no luck", "float32")
    broken = worker.run_case(ROW, Raising(), case)
    assert (broken.status, broken.message) == ("error", "raised RuntimeError: no luck")
    assert (broken.name, broken.dtype, broken.explanation) == (case.name, "float32", "")
    wrong = worker.run_case(ROW, Wrong(), case)
    assert (wrong.status, wrong.explanation) == ("disagree", "")
    assert (wrong.nearest_bug, told.asked) == ("a-bug: It is one.", [case.name])
    assert worker.run_case(ROW, Wrong(), case, resemblance=False).nearest_bug == ""


def test_what_is_known_is_a_disagreement_with_its_reason(told):
    told.known = "known"
    case = quick()[0]
    for adapter in (Raising(), Wrong()):
        report = worker.run_case(ROW, adapter, case)
        assert (report.status, report.explanation) == ("disagree", "known")
    assert told.asked == []
    assert worker.run_case(ROW, Adapter(), case).explanation == ""


@pytest.mark.parametrize("ours", [True, False])
def test_our_own_are_held_to_our_own_promise(monkeypatch, ours):
    held = []

    def compare(case, result, ours):
        held.append(ours)
        return CaseReport(case.name, "agree", case.dtype)

    monkeypatch.setattr(worker, "compare", compare)
    worker.run_case(dataclasses.replace(ROW, ours=ours), Adapter(), quick()[0])
    assert held == [ours]


def test_the_zoo_is_asked_five_times_at_most_and_not_of_what_is_known(told):
    cases = [case for case in matrix.cases("full", ("float32",)) if case.x.size <= 30][:8]
    reports = [report for report, _ in worker.run(ROW, Wrong(), cases)]
    assert [bool(report.nearest_bug) for report in reports] == [True] * 5 + [False] * 3
    told.known, told.unknown = "known", {case.name for case in cases[2:]}
    reports = [report for report, _ in worker.run(ROW, Wrong(), cases)]
    assert [bool(report.nearest_bug) for report in reports] == [False] * 2 + [True] * 5 + [False]
    assert all(0 <= seconds < 60 for _, seconds in worker.run(ROW, Adapter(), cases[:2]))


def test_yardsticks_come_from_outside_where_there_are_any(told):
    case = dataclasses.replace(quick()[0])
    measured = dict.fromkeys(yardstick(quick()[0]), Deviation(10.0, 10.0))
    line = worker.write_yardstick(measured)
    assert line.endswith("}\n")
    assert line.count("\n") == 1
    ((report, _),) = worker.run(ROW, Wrong(), [case], map(worker._read_yardstick, [line]))
    assert report.status == "agree"
    assert yardstick(case) == measured


def test_cases_of_one_program_stay_together_and_shards_alternate():
    cases = matrix.cases("quick")
    parts = [worker.shard(cases, f"{k}/3") for k in range(3)]
    places = {id(case): n for n, part in enumerate(parts) for case in part}
    assert len(places) == sum(map(len, parts)) == len(cases)
    seen = {}
    for case in cases:
        place = seen.setdefault(key(case), len(seen) % 3)
        assert places[id(case)] == place
    assert worker.shard(cases, "0/1") == cases


def test_a_report_is_read_as_it_was_written():
    blocks = (BlockError("y", 1.0, 2.0, 3.0, 4.0), BlockError("d_x", 5.0, 6.0, 7.0, 8.0))
    report = CaseReport("a", "disagree", "float32", blocks, "wrong", "known", "a-bug")
    written = json.loads(json.dumps(dataclasses.asdict(report)))
    assert worker.read_report(written) == report


def test_an_exception_is_a_line_of_300_characters():
    said = worker._summary
    assert said(ValueError("\x1b[1mall\n of\t it\x1b[0m")) == "ValueError: all of it"
    assert said(ValueError("x" * 300)) == "ValueError: " + "x" * 300
    assert said(ValueError("x" * 301)) == "ValueError: " + "x" * 300 + "…"
    assert said(ValueError("abc"), longest=2) == "ValueError: ab…"


@pytest.fixture
def main(monkeypatch, capfd):
    """Run a worker's main here; gives what it wrote, what it printed and what it left unread."""
    outs, own_stdout = [], worker._own_stdout

    def kept_stdout():
        outs.append(own_stdout())
        return outs[-1]

    def run(adapter, *words, stdin=""):
        monkeypatch.setattr(worker, "_own_stdout", kept_stdout)
        monkeypatch.setattr(worker, "implementation", lambda name: ROW)
        monkeypatch.setattr(worker, "load", lambda row: adapter)
        monkeypatch.setattr(worker.sys, "stdin", io.StringIO(stdin))
        kept = os.dup(1)
        try:
            assert worker.main(["anything", *words]) == 0
        finally:
            os.dup2(kept, 1)
            os.close(kept)
            outs.pop().close()
        captured = capfd.readouterr()
        lines = [json.loads(line) for line in captured.out.splitlines()]
        return lines, captured.err, worker.sys.stdin.read()

    return run


class Talking(Adapter):
    def run(self, case):
        os.write(1, b"a banner\n")
        return super().run(case)


def test_a_worker_writes_a_line_per_case_and_what_is_printed_goes_elsewhere(main):
    words = ("--level", "quick", "--dtypes", "bfloat16", "float32")
    found, printed, unread = main(Talking(), *words, stdin="not asked for")
    assert unread == "not asked for"
    assert found[0]["versions"] == {"textbook": "1.0"}
    assert 0 <= found[0]["import_seconds"] < 60
    cases = matrix.cases("quick", ("bfloat16", "float32"))
    assert [line["report"]["name"] for line in found[1:]] == [case.name for case in cases]
    assert {line["report"]["status"] for line in found[1:]} == {"agree"}
    assert all(line["seconds"] >= 0 for line in found[1:])
    assert printed.count("a banner") == len(cases)


def test_a_line_has_left_when_it_is_written():
    raw = io.BytesIO()
    out = io.TextIOWrapper(io.BufferedWriter(raw, 1 << 16), newline="\n")
    worker._write(out, {"a": 1})
    assert raw.getvalue() == b'{"a": 1}\n'


def test_a_worker_takes_its_part_skips_what_was_done_and_is_handed_yardsticks(main):
    cases = worker.shard(quick(), "1/2")[2:]
    wide = [dict.fromkeys(yardstick(case), Deviation(10.0, 10.0)) for case in cases]
    found, _, unread = main(
        Unwilling(), "--level", "quick", "--dtypes", "float32", "--shard", "1/2", "--skip", "2",
        "--yardsticks-from-stdin", stdin="".join(map(worker.write_yardstick, wide)),
    )  # fmt: skip
    assert [line["report"]["name"] for line in found[1:]] == [case.name for case in cases]
    assert unread == ""
    options = worker._parser().parse_args(["name"])
    assert (options.level, options.dtypes) == ("full", list(matrix.DTYPES))
    assert (options.shard, options.skip, options.yardsticks_from_stdin) == ("0/1", 0, False)


# --- around it ------------------------------------------------------------------------------------


def saying(piece, case, **fields):
    fields = {"name": case.name, "status": "agree", "dtype": case.dtype, "blocks": []} | fields
    runner._take({"report": fields, "seconds": 2.0}, piece, lambda: None)


@pytest.fixture
def workers(monkeypatch):
    """In place of processes: how many cases each does before it ends, and how it ends."""
    script, started, patience = [], [], set()

    def run_worker(job, cases, part, piece, tell):
        started.append((job.row.name, part, len(piece.reports)))
        patience.add(job.silence_seconds)
        many, reason, versions = script.pop(0) if script else (len(cases), "", True)
        if versions:
            hello = {"versions": {"of": job.row.name}, "import_seconds": 3.0 + len(started)}
            runner._take(hello, piece, tell)
        for case in cases[len(piece.reports) :][:many]:
            saying(piece, case)
            tell()
        return reason

    monkeypatch.setattr(runner, "_run_worker", run_worker)
    return SimpleNamespace(script=script, started=started, patience=patience)


def piece_of(cases, heard):
    job = runner._Job(ROW, "quick", ["float32"], {}, 9.0)
    return runner._run_piece(job, cases, "0/1", lambda: heard.append(1))


def test_a_worker_that_dies_costs_the_case_in_which_it_died(workers):
    cases, heard = quick()[:5], []
    workers.script += [(2, "died", True), (0, "died again", True)]
    piece = piece_of(cases, heard)
    assert [report.name for report in piece.reports] == [case.name for case in cases]
    statuses = ["agree", "agree", "error", "error", "agree"]
    assert [report.status for report in piece.reports] == statuses
    assert [report.message for report in piece.reports[2:4]] == ["died", "died again"]
    assert piece.reports[2].dtype == "float32"
    assert [skipped for *_, skipped in workers.started] == [0, 3, 4]
    assert (len(heard), piece.failure) == (5, "")


def test_one_that_dies_in_the_last_case_is_not_started_again(workers):
    workers.script += [(4, "died", True)]
    piece = piece_of(quick()[:5], [])
    assert [report.status for report in piece.reports] == ["agree"] * 4 + ["error"]
    assert len(workers.started) == 1


def test_after_five_deaths_the_rest_is_not_run(workers):
    cases, heard = list(itertools.islice(itertools.cycle(quick()), 8)), []
    workers.script += [(0, "died", True)] * 5
    piece = piece_of(cases, heard)
    assert len(workers.started) == 5
    assert [report.status for report in piece.reports] == ["error"] * 8
    said = "not run: the process died 5 times before"
    assert [report.message for report in piece.reports] == ["died"] * 5 + [said] * 3
    assert (len(heard), piece.reports[-1].dtype) == (8, "float32")


def test_what_never_says_its_versions_could_not_be_started(workers):
    workers.script += [(0, "no library", False)]
    piece = piece_of(quick()[:3], [])
    assert (piece.failure, piece.reports) == ("could not be started: no library", [])
    workers.script += [(1, "died", True), (0, "no library any more", False)]
    later = piece_of(quick()[:4], [])
    assert later.failure == ""
    assert [report.status for report in later.reports] == ["agree", "error", "error", "agree"]


def test_what_a_worker_says_is_added_up():
    piece, heard = runner._Piece(), []
    assert (piece.seconds, piece.import_seconds, piece.failure) == (0.0, 0.0, "")
    for seconds in (2.0, 1.0):
        line = {"versions": {"a": "1"}, "import_seconds": seconds}
        runner._take(line, piece, lambda: heard.append(1))
    assert (piece.versions, piece.import_seconds, heard) == ({"a": "1"}, 2.0, [])
    for _ in range(2):
        saying(piece, quick()[0])
    assert (piece.seconds, len(piece.reports)) == (4.0, 2)
    runner._take(
        {"report": dataclasses.asdict(piece.reports[0]), "seconds": 1.0},
        piece,
        lambda: heard.append(1),
    )
    assert heard == [1]


class Slow:
    """A process that knows whether it was killed."""

    def __init__(self):
        self.killed = threading.Event()

    def kill(self):
        self.killed.set()


def test_a_watchdog_ends_what_is_silent_and_nothing_else():
    process = Slow()
    watch = runner._Watchdog(process, 0.05)
    assert process.killed.wait(20)
    assert watch.barked
    quiet = Slow()
    watch = runner._Watchdog(quiet, 0.3)
    for _ in range(3):
        assert not quiet.killed.wait(0.15)
        watch.heard()
    watch.stop()
    assert not quiet.killed.wait(0.5)
    assert not watch.barked
    assert watch._timer.daemon


def test_the_end_of_a_worker_is_told_with_its_last_words():
    watch = SimpleNamespace(barked=False, seconds=7.0)
    words = io.StringIO(f"first\n\n  last {'x' * 400} \n \n")
    words.read()
    ended = runner._ending(3, watch, words)
    assert ended == f"the process ended with code 3: last {'x' * 295}"
    assert runner._ending(-6, watch, io.StringIO("")) == "the process was ended by signal 6"
    assert runner._ending(0, watch, io.StringIO("a")) == "the process ended with code 0: a"
    barked = SimpleNamespace(barked=True, seconds=7.0)
    assert runner._ending(-9, barked, io.StringIO("a")) == "no answer within 7 s"


def test_yardsticks_are_written_in_order_and_a_worker_that_is_gone_is_let_go():
    cases = quick()[:2]
    futures = {}
    for case in cases:
        futures[id(case)] = Future()
        futures[id(case)].set_result(yardstick(case))
    job = runner._Job(ROW, "quick", ["float32"], futures, 9.0)
    written = []

    class Stdin(io.StringIO):
        def flush(self):
            written.append(self.getvalue())

        def close(self):
            written.append("closed")

    runner._feed(SimpleNamespace(stdin=Stdin()), job, cases)
    read = [worker._read_yardstick(line) for line in written[1].splitlines()]
    assert read == [yardstick(case) for case in cases]
    assert len(written[0].splitlines()) == 1  # as soon as it is measured
    assert written[2] == "closed"
    runner._feed(SimpleNamespace(stdin=None), job, cases)

    def gone(text):
        raise BrokenPipeError

    runner._feed(SimpleNamespace(stdin=SimpleNamespace(write=gone)), job, cases)


SPEAKING = """
import json, os, sys
seen = {name: os.environ.get(name) for name in ("JAX_PLATFORMS", "OF_ITS_ROW", "OF_OURS")}
print(json.dumps({"versions": seen, "import_seconds": 1.0}), flush=True)
for line in sys.stdin:
    report = {"name": sorted(json.loads(line))[0], "status": "agree", "dtype": "", "blocks": []}
    print(json.dumps({"report": report, "seconds": 0.5}), flush=True)
print("last words", file=sys.stderr)
sys.exit(4)
"""


def test_a_worker_is_started_fed_listened_to_and_waited_for(monkeypatch):
    watches, commands, popen = [], [], runner.subprocess.Popen

    class Watch:
        barked, heard_times, stopped = False, 0, False

        def __init__(self, process, seconds):
            self.seconds = seconds
            watches.append(self)

        def heard(self):
            self.heard_times += 1

        def stop(self):
            self.stopped = True

    def started(command, **options):
        commands.append(command[1:])
        return popen([command[0], "-c", SPEAKING], **options)

    monkeypatch.setattr(runner, "_Watchdog", Watch)
    monkeypatch.setattr(runner.subprocess, "Popen", started)
    monkeypatch.setenv("OF_OURS", "kept")
    cases, futures = quick()[:3], {}
    for case in cases:
        futures[id(case)] = Future()
        futures[id(case)].set_result(yardstick(case))
    row = dataclasses.replace(ROW, environment={"OF_ITS_ROW": "yes"})
    job = runner._Job(row, "quick", ["float32", "bfloat16"], futures, 9.0)
    piece, heard = runner._Piece(), []
    saying(piece, cases[0])
    ending = runner._run_worker(job, cases, "1/2", piece, lambda: heard.append(1))
    assert ending == "the process ended with code 4: last words"
    assert [report.name for report in piece.reports] == [cases[0].name, "d_U_f", "d_U_f"]
    assert (len(heard), piece.seconds) == (2, 3.0)
    assert piece.versions == {"JAX_PLATFORMS": "cpu", "OF_ITS_ROW": "yes", "OF_OURS": "kept"}
    assert [" ".join(words) for words in commands] == [
        "-m lstm_oracle.conformance.worker ours --level quick --dtypes float32 bfloat16 "
        "--shard 1/2 --skip 1 --yardsticks-from-stdin"
    ]
    (watch,) = watches
    assert (watch.seconds, watch.heard_times, watch.stopped) == (9.0, 3, True)


@pytest.fixture
def registered(monkeypatch):
    rows = {name: Implementation(name, "nowhere:adapter", needs) for name, needs in
            (("first", ()), ("missing", ("no_such_framework",)), ("second", ()))}  # fmt: skip
    monkeypatch.setattr(runner, "REGISTRY", rows)
    monkeypatch.setattr(runner, "implementation", rows.__getitem__)
    return rows


def test_every_implementation_has_a_report_in_the_order_of_the_names(registered, workers):
    heard = []
    reports = runner.verify_implementations(
        level="quick", dtypes=("bfloat16",), progress=lambda *event: heard.append(event)
    )
    assert [report.implementation for report in reports] == ["first", "missing", "second"]
    assert [report.agrees for report in reports] == [True, False, True]
    assert "no_such_framework not installed" in reports[1].unavailable
    assert reports[0].versions == {"of": "first"}
    assert reports[0].seconds == 2.0
    assert 4.0 <= reports[0].import_seconds <= 5.0
    assert sorted(heard) == [("first", 1, 1), ("second", 1, 1)]
    assert {part for _, part, _ in workers.started} == {"0/1"}
    assert workers.patience == {180}
    only = runner.verify_implementations(["second"], "quick", dtypes=("bfloat16",), processes=1)
    assert [report.implementation for report in only] == ["second"]


def test_one_implementation_alone_is_split(registered, workers):
    cases = quick()
    (report,) = runner.verify_implementations(["first"], "quick", dtypes=("float32",))
    assert [one.name for one in report.cases] == [case.name for case in cases]
    assert {part for _, part, _ in workers.started} == {"0/2", "1/2"}
    workers.started.clear()
    runner.verify_implementations(
        ["first", "second", "missing"], "quick", dtypes=("float32",), processes=4
    )
    assert {part for _, part, _ in workers.started} == {"0/2", "1/2"}
    assert len(workers.started) == 4


def test_an_implementation_of_which_a_piece_never_started_is_unavailable(registered, workers):
    workers.script += [(0, "no library", False)] * 2
    (report,) = runner.verify_implementations(["first"], "quick", dtypes=("float32",))
    assert report.unavailable == "could not be started: no library"
    assert report.cases == ()


def test_the_seconds_of_pieces_are_those_of_the_longest():
    cases = quick()[:2]
    pieces = [
        runner._Piece([CaseReport(case.name, "agree", "float32")], seconds, imports, {"v": name})
        for case, seconds, imports, name in zip(cases, (5.0, 3.0), (1.0, 2.0), "ab", strict=True)
    ]
    joined = runner._joined(ROW, cases, pieces)
    assert (joined.seconds, joined.import_seconds, joined.versions) == (5.0, 2.0, {"v": "a"})
    assert [report.name for report in joined.cases] == [case.name for case in cases]


def test_no_case_in_any_dtype_is_refused(registered):
    with pytest.raises(ValueError, match=r"dtypes is \['int8'\], expected some of float64"):
        runner.verify_implementations(["first"], "quick", dtypes=("int8",))

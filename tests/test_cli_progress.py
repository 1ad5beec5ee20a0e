"""What is shown while a job runs, and said when it ended."""

from __future__ import annotations

import errno
import io
import time
from decimal import Decimal

import pytest

from batchchat.api import Summary
from batchchat.cli import amount, answer, ending
from batchchat.cli.progress import display, lines
from batchchat.cli.tally import Pace, Tally, sentence
from batchchat.errors import BadRequest, CheckpointBusy, RateLimited, ServerError
from batchchat.job import resolve
from batchchat.limiter import Bound
from batchchat.records import Attempts, Completion, Outcome, Usage


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def answered(row=1):
    usage = Usage(prompt_tokens=10, completion_tokens=5, total_tokens=15)
    return Outcome(row=row, key=b"k", completion=Completion(contents=("a",), finish_reasons=("stop",), usage=usage))


def failed(row=1, *, sent=1):
    return Outcome(row=row, key=b"k", error=BadRequest("no", status=400), attempts=Attempts(sent=sent))


def test_the_tally_counts_what_happens():
    """Rows, failures, retries, flights and tokens are counted; a row that was never sent was never in flight."""
    tally = Tally(Clock())
    tally.planned(rows=10, reused=4, pending=6)
    for _ in range(3):
        tally.started()
    tally.settled(answered())
    tally.settled(failed())
    tally.settled(failed(sent=0))
    tally.retrying(ServerError("x", status=500), attempt=1, delay=1.0)
    assert (tally.done, tally.total, tally.failed, tally.retries, tally.in_flight) == (7, 10, 2, 1, 1)
    assert sentence(tally, 2.0) == ("7 of 10 rows, 2.0 rows/s, 1.5 s left", "1 in flight, 1 retry, 2 failed, 15 tokens")


def test_only_what_is_under_way_is_in_flight():
    """Rows that wait for a pause to end are not said to be in flight; what a job is bound by is said after a while."""
    clock = Clock()
    tally = Tally(clock)
    for _ in range(5):
        tally.started()
    flying, kind = 5, "requests"

    def bound():
        return Bound(kind=kind, share=0.9, shares={kind: 0.9}, detail="", meaning="", advice="")

    tally.sending(in_flight=lambda: flying, bound=bound)
    assert sentence(tally, 0)[1] == "5 in flight"
    flying = 0
    assert sentence(tally, 0)[1] == ""
    clock.now += 60
    assert sentence(tally, 0)[1] == "bound by the limit of requests"
    kind = "nothing"
    assert sentence(tally, 0)[1] == ""


def test_an_unknown_total_is_not_guessed():
    """Without a total there is neither a total nor a time left."""
    tally = Tally(Clock())
    tally.planned(rows=None, reused=0, pending=None)
    tally.settled(answered())
    assert sentence(tally, 100.0)[0] == "1 rows, 100 rows/s"


def test_waits_pauses_and_publishing_are_told():
    """A rate limit is told as long as it holds, a pause until the endpoint is back, the output at the end."""
    clock = Clock()
    tally = Tally(clock)
    tally.throttled(RateLimited("slow down", status=429), delay=12.0)
    assert tally.state() == "waiting 12 s: rate_limit: slow down (HTTP 429)"
    clock.now += 13
    assert tally.state() == ""
    tally.paused("the endpoint is away")
    assert tally.state() == "paused: the endpoint is away"
    tally.started()
    assert sentence(tally, 0)[1] == "paused: the endpoint is away, 1 in flight"
    tally.paused("")
    assert tally.state() == ""
    tally.publishing(5, 10)
    assert tally.state() == "writing the output: 5 of 10 rows"


def test_the_rate_is_that_of_the_last_twenty_seconds():
    """What was fast a minute ago is forgotten."""
    pace = Pace()
    assert pace.rate(0.0, 0) == 0.0
    for second in range(1, 31):
        rate = pace.rate(float(second), 100 * second)
    assert rate == pytest.approx(100.0)
    for second in range(31, 61):
        rate = pace.rate(float(second), 3000 + second - 30)
    assert rate == pytest.approx(1.0)


def test_a_row_costs_next_to_nothing():
    """A hundred thousand rows are counted without drawing anything: only the counters move."""
    tally, outcome, file = Tally(), answered(), io.StringIO()
    with display(tally, file=file, quiet=False):
        for _ in range(100_000):
            tally.started()
            tally.settled(outcome)
    assert tally.settled_rows == 100_000
    assert file.getvalue() == ""


def test_quiet_shows_nothing():
    """--quiet draws neither lines nor notes."""
    tally, file = Tally(), io.StringIO()
    with display(tally, file=file, quiet=True):
        tally.note("by the way")
    assert file.getvalue() == ""


def test_notes_are_told_also_where_the_job_is_short():
    """A note of a job that ends at once is printed, once."""
    tally, file = Tally(), io.StringIO()
    with display(tally, file=file, quiet=False):
        tally.note("by the way")
    assert file.getvalue() == "batchchat: by the way\n"


def test_plain_lines_come_now_and_then():
    """Where stderr is no terminal, a line without control characters tells how far the job is."""
    tally, file = Tally(), io.StringIO()
    tally.planned(rows=10, reused=0, pending=10)
    tally.settled(answered())
    deadline = time.monotonic() + 10
    with lines(tally, file, first=0.01, following=60.0):
        while "\n" not in file.getvalue() and time.monotonic() < deadline:
            time.sleep(0.005)
    first = file.getvalue().splitlines()
    assert len(first) == 1
    assert first[0].startswith("batchchat: 1 of 10 rows")
    assert first[0].isprintable()


def test_a_closed_stderr_does_not_end_the_job():
    """Who reads the lines may go away."""
    tally, file = Tally(), io.StringIO()
    file.close()
    with lines(tally, file, first=0.01):
        tally.note("nobody hears")


def test_a_terminal_shows_two_lines_and_clears_them():
    """At a terminal rich draws progress and facts, and what it drew is gone at the end."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    tally, file = Tally(), Terminal()
    tally.planned(rows=1000, reused=0, pending=1000)
    tally.settled(answered())
    with display(tally, file=file, quiet=False):
        tally.note("by the way")
    text = file.getvalue()
    assert "1 of 1,000 rows" in text
    assert "by the way" in text
    assert "\x1b[2K" in text


def test_a_terminal_that_is_closed_does_not_end_the_job():
    """When a terminal's window is closed the drawing fails, and nothing else."""

    class Closed(io.StringIO):
        def isatty(self):
            return True

        def write(self, text):
            raise OSError(errno.EIO, "Input/output error")

        def flush(self):
            raise OSError(errno.EIO, "Input/output error")

    tally = Tally()
    with display(tally, file=Closed(), quiet=False):
        tally.note("nobody sees")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0.0 s"), (0.44, "0.4 s"), (12.4, "12 s"), (59.9, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations_are_readable(seconds, words):
    """Times are told in the units that people use."""
    assert amount.duration(seconds) == words


@pytest.mark.parametrize(
    ("dollars", "words"),
    [
        ("0", "0.00 USD"),
        ("0.0012345", "0.00123 USD"),
        ("0.010000", "0.01 USD"),
        ("0.00000012", "0.00000012 USD"),
        ("1.005", "1.00 USD"),
        ("1234.5", "1,234.50 USD"),
    ],
)
def test_money_is_readable(dollars, words):
    """Small amounts keep their digits."""
    assert amount.money(Decimal(dollars)) == words


def summary(**facts):
    known = {"rows": 10, "succeeded": 8, "failed": 2, "pending": 0, "prompt_tokens": 100, "completion_tokens": 50}
    return Summary(**{**known, **facts})


@pytest.fixture
def job():
    return resolve({"model": "m", "output": "my o.csv"}, input="t.csv", environ={"OPENAI_API_KEY": "k"})


def test_the_end_tells_what_failed_and_what_to_do(job):
    """Rows, tokens, cost, the most frequent errors, and the command that sends them again."""
    told = list(
        ending.sentences(
            summary(
                output="my o.csv",
                cost_usd=Decimal("1.5"),
                requests=12,
                retries=2,
                reused=1,
                elapsed_s=3.21,
                status=3,
                errors=[("bad_request: no (HTTP 400)", 2)],
            ),
            job=job,
            quiet=True,
        )
    )
    assert told == [
        "my o.csv: 10 rows, 8 succeeded, 2 failed",
        "100 tokens in, 50 out, 1.50 USD, 12 requests (2 retries), 1 row answered before, 3.2 s",
        "  2 rows: bad_request: no (HTTP 400)",
        "Send the failed rows again: batchchat resume 'my o.csv' --retry-failed",
    ]


def test_rows_that_make_no_request_are_mended_and_not_sent_again(job):
    """Where all failed rows are invalid, what is told is to mend the table: sending them again would change nothing."""
    found = summary(output="o.csv", status=3, errors=[("invalid_row: the rendered prompt is blank", 2)])
    told = list(ending.sentences(found, job=job, quiet=False))
    assert told[-1] == "These rows make no request: mend them in the table, and run the same command again"
    assert not any("--retry-failed" in line for line in told)
    mixed = summary(output="o.csv", status=3, errors=[("invalid_row: blank", 1), ("bad_request: no", 1)])
    assert any("--retry-failed" in line for line in ending.sentences(mixed, job=job, quiet=False))


def test_quiet_is_quiet_where_nothing_went_wrong(job):
    """With --quiet a job that succeeded says nothing; a stopped one says why."""
    assert list(ending.sentences(summary(failed=0), job=job, quiet=True)) == []
    told = list(ending.sentences(summary(status=1, message="out of money"), job=job, quiet=True))
    assert told[-1] == "out of money"
    assert not any("--retry-failed" in line for line in told)


def test_a_trial_is_told_as_one():
    """A trial says how many of its rows failed, and that nothing was written."""
    trial = resolve({"model": "m", "sample": 2}, input="t.csv", environ={"OPENAI_API_KEY": "k"})
    found = [
        {"row": 3, "completion": "yes\nsir", "error": None},
        {"row": 7, "completion": None, "error": "bad_request: no"},
    ]
    told = list(ending.sentences(summary(answers=found, status=3), job=trial, quiet=False))
    assert told[0] == "a trial of 2 rows: 1 failed; no output was written"
    assert [answer.lines(one) for one in found] == [
        "row 3\n  completion: yes\n      sir",
        "row 7\n  error: bad_request: no",
    ]


def test_a_run_that_never_began_has_a_summary(job):
    """Where the checkpoint could not be opened, the JSON has every key, and null for what is not known."""
    facts = ending.of_the_stopped(CheckpointBusy("another run holds it"), checkpoint=job.checkpoint_path)
    assert facts.keys() == summary().as_dict().keys()
    assert (facts["stop_reason"], facts["rows"], facts["checkpoint"]) == ("busy", None, "my o.csv.batchchat")


def test_a_status_is_a_fact_a_line():
    """Numbers have separators, times are those of the clock, unknown facts are left out."""
    told = ending.status({"rows": 1000, "running": True, "started": 0.0, "ended": None, "model": "m"})
    assert [line.split()[0] for line in told.splitlines()] == ["rows", "running", "started", "model"]
    assert "1,000" in told
    assert "yes" in told
    assert "19" in told


@pytest.mark.parametrize(
    ("kind", "seconds", "told"), [("requests", 12.0, True), ("requests", 3.0, False), ("nothing", 12.0, False)]
)
def test_a_long_run_says_what_it_was_bound_by(job, kind, seconds, told):
    """After ten seconds the end says what was waited for, and what to change; where nothing was, it says nothing."""
    bound = Bound(kind=kind, share=1.0, shares={}, detail="60 a minute", meaning="the limit", advice="ask for more")
    said = list(ending.sentences(summary(bound=bound, elapsed_s=seconds), job=job, quiet=False))
    assert ("  bound by the limit (60 a minute); ask for more" in said) is told

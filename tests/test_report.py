"""A job's page: what it says is right, it needs nothing else, and nothing in it is obeyed."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from batchchat.cli import app
from batchchat.report.numbers import READ, Numbers, Percentiles

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&<!--"


pytestmark = pytest.mark.usefixtures("plain_surroundings")


@pytest.fixture
def run(capsys):
    def run(*words):
        status = app.entry([str(word) for word in words])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


@pytest.fixture
def job(run, simulator):
    """Runs a table of texts; further words go to `run`."""
    server = simulator(text="echo")

    def job(*texts, words=(), name="t.csv", status=0):
        with Path(name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["text"], *([text] for text in texts)])
        told = ("--base-url", server.base_url, "-m", "m", "--prompt", "{{ text }}", "--quiet", *words)
        assert run("run", name, *told)[0] == status
        return server

    return job


class Page(HTMLParser):
    """The tags, attributes and visible text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.said, self.open = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in {"meta", "line", "rect"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag != "rect":
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.said).split())


def page_of(path="t.completions.csv.report.html"):
    return Page(Path(path).read_text(encoding="utf-8"))


def test_the_page_says_what_the_job_came_to(run, job):
    """Rows, failures by kind, finish reasons, tokens, cost, latency and a sample stand on the page."""
    texts = [f"text {n}" for n in range(30)]
    job(*texts, "@@400*1 a", "@@400*1 b", words=("--price", "input=1,output=2"), status=3)
    assert run("report", "t.csv") == (0, "", "t.completions.csv.report.html\n")
    found = page_of()
    for words in ("32 rows", "30 succeeded", "2 failed", "0 pending", "finished", "Throughput", "Latency", "stop 30"):
        assert words in found.text, words
    assert "Errors by kind" in found.text
    assert "2 31 invalid_request_error" in found.text
    assert re.search(r"model rows prompt tokens completion tokens cost m 30 \d+ \d+ 0\.0+\d+ USD", found.text)
    assert re.search(r"32 0 (concurrency|server|nothing) finished", found.text)
    assert "Rows that failed" in found.text
    assert found.tags.count("svg") == 2
    assert found.open == []


def test_the_bill_is_on_the_page(run, simulator):
    """By model: rows, tokens of each kind, and the cost; what brought no answer, and what was there before."""
    server = simulator(tokens=9)
    with Path("t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text"], ["one"], ["@@drop*1 two"], ["three"]])
    words = ("--base-url", server.base_url, "-m", "m", "--price", "input=1000,output=2000", "--max-tokens", "10")
    for limit in (2, 3):
        assert run("run", "t.csv", *words, "--prompt", "{{ text }}", "--limit", limit, "--quiet")[0] == 0
    run("report", "t.csv")
    found = page_of().text
    assert re.search(r"m 3 \d+ \d+ 0\.\d+ USD", found)
    assert re.search(r"paid for nothing, perhaps: attempts that brought no answer 1 at most 0\.\d+ USD", found)
    assert re.search(r"saved: rows that the last run found answered 2 about 0\.\d+ USD", found)
    assert "$1000 in, $2000 out per million tokens (as told by --price)" in found


def test_what_the_job_waited_for_is_told(run, job):
    """The longest run says what it was bound by, with its number, and what to change."""
    job(*(f"text {n}" for n in range(9)), words=("--rpm", "180", "-c", "4"))
    run("report", "t.csv")
    assert "Bound by the limit of requests (180 requests a minute, as told); ask the endpoint" in page_of().text


def test_small_amounts_are_no_powers_of_ten(run, job):
    """A cost of a hundred-thousandth is written out."""
    job("one", words=("--price", "input=0.01,output=0.02"))
    run("report", "t.csv")
    assert "e-0" not in page_of().text
    assert re.search(r"0\.000000\d+ USD", page_of().text)


def test_the_page_needs_nothing_else(run, job):
    """No script, no link, no picture, no font, nothing fetched: and its policy forbids it."""
    job("one")
    run("report", "t.csv")
    found = page_of()
    assert not {"script", "link", "img", "iframe", "object", "a", "form", "base"} & set(found.tags)
    assert not [name for name, _ in found.attributes if name in {"src", "href", "style"} or name.startswith("on")]
    text = Path("t.completions.csv.report.html").read_text(encoding="utf-8")
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text


def test_what_people_and_models_said_is_text(run, job):
    """Markup in a column, an answer, an error or a name is shown and does nothing."""
    name = "<b>t&amp;.csv"
    job(EVIL, "@@400*1 " + EVIL, "control \x1b[2J \x00 end", name=name, status=3)
    run("report", name, "-o", "page.html")
    found = page_of("page.html")
    assert {"script", "img", "b"} & set(found.tags) <= {"b"}
    assert found.tags.count("b") == 6  # the figures above
    assert EVIL in "".join(found.said)
    assert "\x1b" not in "".join(found.said)


def test_a_key_is_not_on_the_page(run, job, monkeypatch):
    """No secret is written to a report."""
    monkeypatch.setenv("MY_KEY", "hidden-key-123")
    job("one", words=("--api-key-env", "MY_KEY", "--header", "X-Api-Key: ${MY_KEY}"))
    run("report", "t.csv")
    assert "hidden-key-123" not in Path("t.completions.csv.report.html").read_text(encoding="utf-8")


def test_a_job_that_is_not_finished_has_a_page(run, job):
    """An unfinished job and one of trials alone have pages too."""
    job("one", "two", "three", words=("--rows", "2"))
    assert run("report", "t.completions.csv.batchchat")[0] == 0
    assert "1 succeeded" in page_of().text


def test_a_page_without_its_table(run, job):
    """Where the table is gone the numbers stand, and the page says why no row is shown."""
    job("one", "two")
    Path("t.csv").unlink()
    assert run("report", "t.completions.csv")[0] == 0
    found = page_of().text
    assert "2 succeeded" in found
    assert "No rows are shown" in found


def test_the_page_is_no_file_of_the_job(run, job):
    """A page never replaces the table, the output or the checkpoint."""
    job("one")
    for name in ("t.csv", "t.completions.csv", "t.completions.csv.batchchat"):
        before = Path(name).read_bytes()
        assert run("report", "t.csv", "-o", name)[0] == 2
        assert Path(name).read_bytes() == before


def test_a_long_text_is_cut(run, job):
    """A page of a few rows stays a page, however long the rows are."""
    job("x" * 200_000)
    run("report", "t.csv")
    assert Path("t.completions.csv.report.html").stat().st_size < 60_000


def test_an_unknown_job_is_a_usage_error(run):
    """A report of nothing is status 2, and no file."""
    assert run("report", "nothing.csv")[0] == 2
    assert list(Path().iterdir()) == []


# Numbers


def block(rows):
    known = dict.fromkeys(READ)
    return {name: [{**known, **row}[name] for row in rows] for name in READ}


def row(number, **facts):
    return {"row": number, "attempts": 1, "paid_for_nothing": 0, "prompt_tokens": 10, "completion_tokens": 5, **facts}


def test_percentiles_are_right_to_one_percent():
    """Whatever the spread, a percentile is within a percent of the sorted list's."""
    times = [0.001 * 1.01**n for n in range(1000)]
    found = Percentiles()
    for one in times:
        found.add(one)
    for share in (0.5, 0.9, 0.95, 0.99):
        assert found.at(share) == pytest.approx(times[int(share * 1000) - 1], rel=0.011)
    assert found.longest == times[-1]
    assert Percentiles().at(0.5) is None


def test_rates_are_over_the_time_of_runs():
    """A night between two runs is no gap; a row that was not sent is in no part."""
    numbers = Numbers([(100.0, 160.0), (90_000.0, 90_060.0)])
    first = [row(n, at=100.0 + n / 2) for n in range(1, 120)]
    second = [row(n, at=90_000.0 + n / 2) for n in range(120, 240)]
    numbers.add(block([*first, *second, row(999, at=100.0, attempts=0, error="x: y")]))
    assert numbers.seconds == 120.0
    assert numbers.breaks() == [0.5]
    rates = numbers.rates()
    assert sum(rates) == pytest.approx(239, abs=2)
    assert max(numbers.token_rates()) == pytest.approx(15 * max(rates))


def test_errors_that_differ_in_numbers_are_one_kind():
    """Request ids and counts do not make a kind of their own; kinds do not grow without end."""
    numbers = Numbers([])
    numbers.add(block([row(n, error=f"bad: id {n} of {n * 7}") for n in range(1, 50)]))
    numbers.add(block([row(100 + n, error="other " + chr(97 + n % 26) * (n + 1)) for n in range(1500)]))
    kinds = numbers.errors()
    assert max(kinds, key=lambda kind: kind.row == 1).example == "bad: id 1 of 7"
    assert len(kinds) <= 1001
    assert sum(kind.count for kind in kinds) == numbers.failed == 1549


def test_rows_without_an_outcome_do_not_count():
    """A pending row is neither answered nor failed; several choices have several finish reasons."""
    numbers = Numbers([])
    numbers.add(block([{}, row(2, finish_reason=["stop", "length"], model="m")]))
    assert (numbers.answered, numbers.failed) == (1, 0)
    assert dict(numbers.finish_reasons) == {"stop": 1, "length": 1}
    assert numbers.rates() == []


# status without a job


def test_status_lists_the_jobs_of_the_folder(run, job):
    """Without JOB a line for each job: its name, rows, failures, state and model; JSON gives every fact."""
    assert run("status") == (0, "", "there is no job in this folder; batchchat run INPUT starts one\n")
    job("one", "two", name="a.csv")
    job("one", "@@400*1 two", name="b.csv", status=3)
    Path("broken.csv.batchchat").write_text("this is none")
    status, out, err = run("status")
    assert status == 0
    assert [line.split() for line in out.splitlines()] == [
        ["job", "rows", "failed", "state", "model"],
        ["b.completions.csv", "2", "of", "2", "1", "finished", "m"],
        ["a.completions.csv", "2", "of", "2", "0", "finished", "m"],
    ]
    assert "broken.csv.batchchat" in err
    assert [one["failed"] for one in json.loads(run("status", "--json")[1])] == [1, 0]

"""The page: what a job came to, for whoever has to answer for it.

Every text that comes from a table, a model or a person goes through `_text`. The page's own policy forbids scripts and
whatever would be fetched, so that a slip there could still not run anything.
"""

from __future__ import annotations

import html
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from batchchat.report import chart
from batchchat.report.style import STYLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from batchchat.report.numbers import Numbers, Percentiles

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_LONGEST_TEXT = 4000
_MOST_ERRORS = 50
_SHORT = 60
_CONTROLS = dict.fromkeys([*range(9), 11, 12, *range(14, 32), *range(127, 160)], "\N{REPLACEMENT CHARACTER}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """A row that is shown: its inputs, and its answer or error."""

    row: int
    inputs: Mapping[str, Any]
    completion: Any
    error: str | None
    finish_reason: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the page says besides the numbers.

    Attributes:
        title: the job by its output; input, output, host, model, checkpoint: as they are.
        rows: of the table, None where nobody counted.
        state: finished, running, or why it stopped.
        cost: US dollars, None where the price is not known; price: in words, with its source.
        bill: by model, what brought nothing and what was saved, as `status` has it; None where nothing was answered.
        bound: what the longest run waited for, and what to change, in a sentence; empty where nobody knows.
        settings: what made the requests, without secrets.
        runs: start, end (Unix times), rows settled, requests and stop reason of each.
        sample: rows drawn at random; failures: some rows that failed.
        note: why rows are missing from the sample, empty where none are.
        at: Unix time of the page.
    """

    title: str
    input: str
    output: str
    checkpoint: str
    host: str
    model: str
    rows: int | None
    state: str
    cost: Decimal | None
    price: str | None
    settings: Mapping[str, Any]
    at: float
    bill: Mapping[str, Any] | None = None
    bound: str = ""
    runs: Sequence[Mapping[str, Any]] = ()
    sample: Sequence[Sampled] = field(default=())
    failures: Sequence[Sampled] = field(default=())
    note: str = ""


def page(facts: Facts, numbers: Numbers) -> str:
    """The whole page as HTML."""
    return "\n".join(_lines(facts, numbers)) + "\n"


def _lines(facts: Facts, numbers: Numbers) -> Iterator[str]:
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{_text(facts.title)}: batchchat report</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>"
    yield f"<h1>{_text(facts.title)}</h1>"
    yield f'<p class="dim">{_text(facts.state)} &middot; {_moment(facts.at)} UTC</p>'
    yield from _tiles(facts, numbers)
    yield from _time(facts, numbers)
    yield from _outcomes(numbers)
    yield from _money(facts, numbers)
    yield from _answers("A sample of rows", facts.sample)
    if facts.note:
        yield f'<p class="dim">{_text(facts.note)}</p>'
    yield from _answers("Rows that failed", facts.failures)
    yield from _job(facts)
    yield "</body>\n</html>"


def _tiles(facts: Facts, numbers: Numbers) -> Iterator[str]:
    settled = numbers.answered + numbers.failed
    pending = None if facts.rows is None else max(0, facts.rows - settled)
    tiles = [
        ("rows", _count(facts.rows), ""),
        ("succeeded", _count(numbers.answered), "good" if numbers.answered else ""),
        ("failed", _count(numbers.failed), "bad" if numbers.failed else ""),
        ("pending", _count(pending), "warn" if pending else ""),
        ("cost", "not known" if facts.cost is None else _dollars(facts.cost), ""),
        ("time of runs", _duration(numbers.seconds), ""),
    ]
    yield '<div class="tiles">'
    for name, value, kind in tiles:
        number, _, unit = value.partition(" ") if value[0].isdecimal() else (value, "", "")
        small = f"<small> {_text(unit)}</small>" if unit else ""
        yield f'<div class="tile"><b class="{kind}">{_text(number)}{small}</b><span class="dim">{name}</span></div>'
    yield "</div>"


def _time(facts: Facts, numbers: Numbers) -> Iterator[str]:
    rates = numbers.rates()
    if rates:
        yield "<h2>Throughput</h2>\n<p class='dim'>rows per second while runs lasted</p>"
        yield _scrolled(chart.bars(rates, seconds=numbers.seconds, unit="rows/s", breaks=numbers.breaks()))
    tokens = numbers.token_rates()
    if any(tokens):
        yield "<p class='dim'>tokens per second</p>"
        yield _scrolled(chart.bars(tokens, seconds=numbers.seconds, unit="tokens/s", breaks=numbers.breaks()))
    if facts.bound:
        yield f"<p>{_text(facts.bound[:1].upper() + facts.bound[1:])}.</p>"
    times = [("whole answer", numbers.latency), ("first chunk", numbers.first_token)]
    rows = [[name, *_percentiles(found)] for name, found in times if found.count]
    if rows:
        yield "<h2>Latency</h2>"
        yield from _table(["seconds", "50 %", "90 %", "95 %", "99 %", "longest"], rows, numeric=range(1, 6))


def _scrolled(picture: str) -> str:
    return f'<div class="scroll">{picture}</div>'


def _percentiles(found: Percentiles) -> list[str]:
    shares = [found.at(share) for share in (0.5, 0.9, 0.95, 0.99)]
    return [chart.number(value) for value in (*shares, found.longest) if value is not None]


def _outcomes(numbers: Numbers) -> Iterator[str]:
    if numbers.finish_reasons:
        yield "<h2>Finish reasons</h2>"
        ended = [[reason, f"{count:,}"] for reason, count in numbers.finish_reasons.most_common()]
        yield from _table(["reason", "answers"], ended, numeric=[1])
    errors = numbers.errors()
    if errors:
        yield "<h2>Errors by kind</h2>"
        kinds = [[f"{kind.count:,}", f"{kind.row:,}", kind.example] for kind in errors[:_MOST_ERRORS]]
        yield from _table(["rows", "first row", "error"], kinds, numeric=[0, 1])
        if len(errors) > _MOST_ERRORS:
            yield f'<p class="dim">and {len(errors) - _MOST_ERRORS:,} more kinds</p>'


def _money(facts: Facts, numbers: Numbers) -> Iterator[str]:
    yield "<h2>Tokens and cost</h2>"
    models = (facts.bill or {}).get("models") or {}
    if models:
        shown = [name for name in _TOKENS if any(line[name] for line in models.values())]
        lines = [[name or "(no name)", *_line(line, shown)] for name, line in models.items()]
        if len(lines) > 1:
            whole = {name: sum(line[name] for line in models.values()) for name in ("rows", *shown)}
            lines.append(["together", *_line({**whole, "cost_usd": facts.cost}, shown)])
        heads = ["model", "rows", *(_TOKENS[name] for name in shown), "cost"]
        yield from _table(heads, lines, numeric=range(1, len(heads)))
    yield from _table(["", "", ""], list(_besides(facts, numbers)), numeric=[1, 2])
    yield f'<p class="dim">{_text(facts.price or "The price of this model at this endpoint is not known.")}</p>'


_TOKENS = {
    "prompt_tokens": "prompt tokens",
    "cached_tokens": "of them cached",
    "cache_write_tokens": "written to the cache",
    "completion_tokens": "completion tokens",
    "reasoning_tokens": "of them reasoning",
}


def _line(line: Mapping[str, Any], shown: Sequence[str]) -> list[str]:
    return [f"{line['rows']:,}", *(f"{line[name]:,}" for name in shown), _known(line["cost_usd"])]


def _besides(facts: Facts, numbers: Numbers) -> Iterator[list[str]]:
    """What is not by model: requests, what brought nothing, what was there before."""
    yield ["HTTP requests", f"{numbers.attempts:,}", ""]
    nothing, saved = ((facts.bill or {}).get(name) or {} for name in ("paid_for_nothing", "saved"))
    if nothing.get("attempts"):
        most = nothing["at_most_usd"]
        cost = "" if most is None else f"at most {_known(most)}"
        yield ["paid for nothing, perhaps: attempts that brought no answer", f"{nothing['attempts']:,}", cost]
    if saved.get("rows"):
        about = saved["about_usd"]
        cost = "" if about is None else f"about {_known(about)}"
        yield ["saved: rows that the last run found answered", f"{saved['rows']:,}", cost]


def _known(dollars: float | Decimal | None) -> str:
    return "not known" if dollars is None else _dollars(Decimal(str(dollars)))


def _answers(heading: str, rows: Sequence[Sampled]) -> Iterator[str]:
    if not rows:
        return
    yield f"<h2>{heading}</h2>"
    inputs = list(rows[0].inputs)
    ended = any(row.finish_reason not in {None, "stop"} for row in rows if not isinstance(row.finish_reason, list))
    heads = ["row", *inputs, "answer", *(["ended by"] if ended else [])]
    yield from _framed(heads, [_answer(row, inputs, ended=ended) for row in rows], numeric=[0])


def _answer(row: Sampled, inputs: Sequence[str], *, ended: bool) -> str:
    cells = [f'<td class="n">{row.row:,}</td>']
    cells += [f'<td class="t"><div>{_text(row.inputs.get(name))}</div></td>' for name in inputs]
    if row.error is None:
        cells.append(f'<td class="t"><div>{_text(row.completion)}</div></td>')
    else:
        cells.append(f'<td class="t bad"><div>{_text(row.error)}</div></td>')
    if ended:
        cells.append(f"<td>{_text(row.finish_reason)}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _job(facts: Facts) -> Iterator[str]:
    yield "<h2>The job</h2>"
    named = ["input", "output", "checkpoint", "host", "model"]
    short = {name: value for name, value in facts.settings.items() if _is_short(value)}
    lines = [[name, getattr(facts, name)] for name in named]
    yield from _table(["", ""], [*lines, *([name, value] for name, value in short.items() if name != "model")])
    for name, value in facts.settings.items():
        if name in short:
            continue
        yield f'<p class="dim">{_text(name)}</p>\n<pre>{_text(value)}</pre>'
    if facts.runs:
        yield "<h2>Runs</h2>"
        rows = [
            [
                _moment(run["started"]),
                _duration(run["ended"] - run["started"]) if run.get("ended") else "-",
                _count(run.get("requests")),
                _count(run.get("retries")),
                str((run.get("bound") or {}).get("kind") or ""),
                str(run.get("stop_reason") or ("finished" if run.get("ended") else "not ended")),
            ]
            for run in facts.runs
        ]
        yield from _table(["started (UTC)", "took", "requests", "retries", "bound by", "ended"], rows, numeric=[2, 3])


def _is_short(value: Any) -> bool:
    return isinstance(value, bool | int | float) or (
        isinstance(value, str) and len(value) <= _SHORT and "\n" not in value
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]], numeric: Iterable[int] = ()) -> Iterator[str]:
    right = set(numeric)
    lines = [
        "<tr>"
        + "".join(f'<td class="{"n" if at in right else "t"}">{_text(cell)}</td>' for at, cell in enumerate(row))
        + "</tr>"
        for row in rows
    ]
    yield from _framed(heads, lines, numeric=right)


def _framed(heads: Sequence[str], lines: Sequence[str], numeric: Iterable[int]) -> Iterator[str]:
    right = set(numeric)
    yield '<div class="scroll"><table>'
    if any(heads):
        cells = "".join(f'<th class="{"n" if at in right else ""}">{_text(head)}</th>' for at, head in enumerate(heads))
        yield f"<tr>{cells}</tr>"
    yield from lines
    yield "</table></div>"


def _text(value: Any) -> str:
    """A value as text of the page: nothing in it is markup, and no more of it than can be read."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1, default=str)
    if len(text) > _LONGEST_TEXT:
        text = f"{text[:_LONGEST_TEXT]}… ({len(text):,} characters)"
    plain = text.encode("utf-8", "replace").decode("utf-8")
    return html.escape(plain.translate(_CONTROLS))


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _dollars(amount: Decimal) -> str:
    if amount >= 1 or not amount:
        return f"{amount:,.2f} USD"
    return f"{Decimal(f'{amount:.3g}').normalize():f} USD"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")

"""Tokens of what is stored, as the bill needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchchat.checkpoint import schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchchat.checkpoint.journal import Journal

_BLOCK = 8192
_OF_A_CUT = ("completion_tokens", "finish_reason", "answered")
_NEEDED = frozenset({"prompt_tokens", "completion_tokens"})


def usages(journal: Journal, chain: Sequence[int], rows: int, names: Sequence[str]) -> Iterator[tuple[int | None, ...]]:
    """The named counts of tokens of each of the first rows that has an outcome with an answer or with usage."""
    for start in range(1, rows + 1, _BLOCK):
        columns = journal.results(chain, start, min(_BLOCK, rows + 1 - start), (*names, "answered"))
        for *counts, answered in zip(*columns.values(), strict=True):
            if answered or any(count is not None for count in counts):
                yield tuple(counts)


def usage_sums(journal: Journal, chain: Sequence[int], rows: int, names: Sequence[str]) -> tuple[int | None, ...]:
    """The sums of `usages`; None where the API counted no prompt or completion tokens of an answer."""
    if len(chain) > 1:
        found = list(zip(*usages(journal, chain, rows, names), strict=True)) or [()] * len(names)
        return tuple(_sum(name, counts) for name, counts in zip(names, found, strict=True))
    first, last = schema.outcome_id(chain[0], 0), schema.outcome_id(chain[0], rows)
    row = journal.database.one(
        f"SELECT {_sums(names)} FROM outcomes WHERE id > ? AND id <= ? AND (answered OR prompt_tokens IS NOT NULL)",
        (first, last),
    )
    assert row is not None
    return tuple(row)


def usage_by_model(journal: Journal, settings: int, rows: int, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """By the model that answered: its name, how many rows, and the sums of the named counts, as `usage_sums`."""
    first, last = schema.outcome_id(settings, 0), schema.outcome_id(settings, rows)
    yield from journal.database.query(
        f"SELECT model, count(*), {_sums(names)} FROM outcomes WHERE id > ? AND id <= ? "
        "AND (answered OR prompt_tokens IS NOT NULL) GROUP BY model ORDER BY count(*) DESC",
        (first, last),
    )


def paid_for_nothing(journal: Journal, chain: Sequence[int]) -> int:
    """Attempts under these settings that brought no answer and may have been billed."""
    total = 0
    for settings in chain:
        first, last = schema.outcome_id(settings, 0), schema.outcome_id(settings + 1, 0)
        row = journal.database.one(
            "SELECT coalesce(sum(paid_for_nothing), 0) FROM outcomes WHERE id > ? AND id < ?", (first, last)
        )
        total += 0 if row is None else int(row[0])
    return total


def cut_answers(journal: Journal, chain: Sequence[int], rows: int) -> tuple[int, int]:
    """How many of the first rows have an answer that was cut by its length, and the most tokens that such a one has."""
    if len(chain) > 1:
        found = [
            tokens or 0
            for start in range(1, rows + 1, _BLOCK)
            for tokens, reason, answered in zip(
                *journal.results(chain, start, min(_BLOCK, rows + 1 - start), _OF_A_CUT).values(), strict=True
            )
            if answered and (reason == "length" or (isinstance(reason, list) and "length" in reason))
        ]
        return len(found), max(found, default=0)
    first, last = schema.outcome_id(chain[0], 0), schema.outcome_id(chain[0], rows)
    row = journal.database.one(
        "SELECT count(*), max(completion_tokens) FROM outcomes WHERE id > ? AND id <= ? AND answered "
        "AND (finish_reason = 'length' OR (choices != 1 AND instr(finish_reason, '\"length\"')))",
        (first, last),
    )
    assert row is not None
    return int(row[0]), int(row[1] or 0)


def usage_since(journal: Journal, at: float, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The named columns of every outcome, of whatever settings, that was settled after a time."""
    yield from journal.database.query(
        f"SELECT {', '.join(names)} FROM outcomes WHERE at_us > ?", (round(at * 1_000_000),)
    )


def _sums(names: Sequence[str]) -> str:
    """A needed count that some row lacks makes its sum unknown."""
    return ", ".join(
        f"CASE WHEN count({name}) = count(answered) THEN coalesce(sum({name}), 0) END"
        if name in _NEEDED
        else f"coalesce(sum({name}), 0)"
        for name in names
    )


def _sum(name: str, counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return None if name in _NEEDED and len(known) < len(counts) else sum(known)

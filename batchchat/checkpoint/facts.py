"""What a checkpoint knows of its job besides outcomes: the header, the settings that were tried, the runs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchchat.checkpoint.database import Database


class Facts:
    """The part of a journal that is about the job and not about its rows. `Journal` is the whole of it."""

    _db: Database

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction around several calls; calls within one join it."""
        with self._db.transaction():
            yield

    # The header: facts about the job, by name.

    def header(self, name: str) -> Any:
        """A fact of the header, None where it was never written."""
        # All of the few are read: a name that is not as it was written would not be found, and not be missed.
        return next((json.loads(text) for fact, text in self._db.sealed_rows("header") if fact == name), None)

    def set_header(self, **facts: Any) -> None:
        """Write facts into the header, durably and all at once."""
        with self.transaction():
            self._db.insert("header", [(name, json.dumps(fact)) for name, fact in facts.items()])

    # Settings: what requests are made of besides the row.

    def settings_id(self, body: Mapping[str, Any], *, base: int | None = None) -> int:
        """The number of some settings; they are written down when they are new.

        Args:
            body: JSON-able facts, named one by one.
            base: the settings whose answers stand where these have none (`--keep-answered`).
        """
        text = canonical(body)
        digest = _digest(text)
        known = self._settings(digest)
        if known is not None and (base is None or known[3] is not None or base == known[0]):
            return int(known[0])
        (last,) = self._db.one("SELECT coalesce(max(id), 0) FROM settings") or (0,)
        number = int(last) + 1 if known is None else int(known[0])
        with self._db.transaction():
            self._db.insert("settings", [(number, digest, text, base, _now())])
        return number

    def find_settings(self, body: Mapping[str, Any]) -> int | None:
        """The number of some settings if they were ever used here."""
        known = self._settings(_digest(canonical(body)))
        return None if known is None else int(known[0])

    def settings(self, number: int) -> dict[str, Any]:
        """The facts behind a number of settings."""
        for row in self._db.sealed_rows("settings", where="WHERE id = ?", values=(number,)):
            body: dict[str, Any] = json.loads(row[2])
            return body
        raise self._db.damaged(f"it has no settings {number}")

    def chain(self, number: int) -> tuple[int, ...]:
        """A number of settings and those whose answers stand where they have none, nearest first."""
        chain: list[int] = []
        following: int | None = number
        while following is not None and following not in chain:
            chain.append(following)
            rows = list(self._db.sealed_rows("settings", where="WHERE id = ?", values=(following,)))
            following = rows[0][3] if rows else None
        return tuple(chain)

    def _settings(self, digest: str) -> tuple[Any, ...] | None:
        """The row of some settings; all of the few are read, since an index can be wrong and is not sealed."""
        return next((row for row in self._db.sealed_rows("settings") if row[1] == digest), None)

    # Runs.

    def start_run(self, settings: int | None, facts: Mapping[str, Any]) -> int:
        """Write down that a run begins; its number."""
        (last,) = self._db.one("SELECT coalesce(max(id), 0) FROM runs") or (0,)
        with self._db.transaction():
            self._db.insert("runs", [(last + 1, settings, _now(), None, json.dumps(dict(facts)))])
        return int(last) + 1

    def end_run(self, number: int, facts: Mapping[str, Any]) -> None:
        """Write down how a run ended."""
        for row in list(self._db.sealed_rows("runs", where="WHERE id = ?", values=(number,))):
            body = {**json.loads(row[4]), **facts}
            with self.transaction():
                self._db.insert("runs", [(number, row[1], row[2], _now(), json.dumps(body))])

    def runs(self) -> list[dict[str, Any]]:
        """Every run: its number, settings, start and end (Unix times), and facts."""
        return [
            {
                "run": row[0],
                "settings": row[1],
                "started": row[2] / 1e6,
                "ended": row[3] and row[3] / 1e6,
                **json.loads(row[4]),
            }
            for row in self._db.sealed_rows("runs", where="ORDER BY id")
        ]


def canonical(body: Mapping[str, Any]) -> str:
    """Settings as they are kept: by name; names inside a field keep their order, which is a part of what is asked."""
    return json.dumps(dict(sorted(body.items())), ensure_ascii=True)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _now() -> int:
    return round(time.time() * 1_000_000)

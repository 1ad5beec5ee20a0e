"""Marks of batches that are as they were: a mark never outlives the answers that it speaks of."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from batchchat.api import execute, export_job
from batchchat.checkpoint import Mark, open_journal, read_journal
from batchchat.errors import CheckpointDamaged
from batchchat.events import Observer
from batchchat.job import resolve
from batchchat.records import Completion, Outcome, Usage

ROWS = 40


@pytest.fixture(autouse=True)
def _place(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "BATCHCHAT_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def write(prompts, *, group):
    parquet.write_table(pa.table({"prompt": prompts}), "t.parquet", row_group_size=group)


def run(sim, **options):
    options = {"base_url": sim.base_url, "model": "sim", "yes": True} | options
    return execute(resolve(options, input="t.parquet", environ={}), observer=Observer())


def completions(path="t.completions.parquet"):
    return parquet.read_table(path)["completion"].to_pylist()


def prompts_of(rows=ROWS, *, edited=()):
    return [f"{'edited' if n in edited else 'prompt'} {n}" for n in range(rows)]


def answered(row):
    done = Completion(contents=("yes",), finish_reasons=("stop",), usage=Usage(), model="m")
    return Outcome(row=row, key=b"k%d" % row, completion=done)


def test_marks_take_the_place_of_what_they_overlap(tmp_path):
    """Of a table whose batches begin elsewhere by now no earlier mark is left."""
    journal = open_journal(tmp_path / "c.batchchat")
    settings = journal.settings_id({"model": "m"})
    for start, size in ((1, 10), (11, 10), (21, 10), (1, 16), (17, 3)):
        journal.note_mark(settings, start, Mark(size=size, digest=b"d", complete=False))
    journal.commit(settings, [answered(1)])
    assert [start for start in range(1, 40) if journal.mark(settings, start)] == [1, 17, 21]
    journal.forget_marks(settings, 20, 2)
    assert [start for start in range(1, 40) if journal.mark(settings, start)] == [1, 17]
    journal.set_aside(settings, [1])
    assert [start for start in range(1, 40) if journal.mark(settings, start)] == [17]
    journal.close()


def test_a_table_that_is_put_back_has_its_own_answers(simulator):
    """Edited with other row groups, and put back: each row has the answer to what it asks, and none is paid twice."""
    sim = simulator(text="echo")
    edited = range(25, ROWS)
    write(prompts_of(), group=20)
    run(sim)
    write(prompts_of(edited=edited), group=16)
    assert run(sim).requests == len(edited)
    write(prompts_of(), group=20)
    assert run(sim).requests == 0
    assert completions() == prompts_of()


def test_a_trial_of_an_edit_does_not_answer_for_the_row_before_it(simulator):
    """A trial over an edited table leaves no answer beside the row that stands there when the edit is undone."""
    sim = simulator(text="echo")
    write(prompts_of(), group=20)
    run(sim)
    write(prompts_of(edited={4, 30}), group=20)
    run(sim, rows="5,31")
    write(prompts_of(), group=20)
    summary = run(sim)
    assert (summary.status, summary.requests) == (0, 0)
    assert completions() == prompts_of()
    export_job("t.completions.parquet", "o.parquet")
    assert completions("o.parquet") == prompts_of()


def test_a_wrong_mark_is_no_damage(simulator):
    """Where marks say more than is stored, and the file is sound, rows are compared one by one, and the run goes on."""
    sim = simulator(text="echo")
    write(prompts_of(), group=20)
    run(sim)
    journal = open_journal("t.completions.parquet.batchchat")
    settings = journal.header("begun")
    marks = {start: journal.mark(settings, start) for start in (1, 21)}
    journal.set_aside(settings, [7])
    for start, mark in marks.items():
        journal.note_mark(settings, start, mark)
    journal.set_header(published=None)
    journal.close()
    summary = run(sim, overwrite=True)
    assert (summary.status, summary.requests) == (0, 0)
    assert completions() == prompts_of()


def damage(path):
    """A row's number, changed in its place, so that it is out of order and no search finds it."""
    content = bytearray(Path(path).read_bytes())
    with closing(sqlite3.connect(path)) as database:
        (identity,) = database.execute("SELECT id FROM outcomes ORDER BY id LIMIT 1 OFFSET 20").fetchone()
    varint = [identity & 0x7F]
    while identity := identity >> 7:
        varint.append(identity & 0x7F | 0x80)
    at = content.index(bytes(varint[::-1]))
    content[at] ^= 0x02
    Path(path).write_bytes(content)


@pytest.mark.parametrize("stopped", [False, True])
def test_rows_that_cannot_be_found_are_missed(simulator, monkeypatch, stopped):
    """Rows that damage hides are not sent again, nor left out of an export; also where the file is a large one."""
    monkeypatch.setattr("batchchat.checkpoint.database._QUICK_BYTES", 0)
    sim = simulator(text="echo")
    write([*prompts_of(), *(["@@quota x"] * stopped)], group=16)
    run(sim, concurrency=1)
    damage("t.completions.parquet.batchchat")
    before = sim.stats()["answered"]
    with pytest.raises(CheckpointDamaged, match="is damaged"):
        export_job("t.completions.parquet.batchchat", "o.parquet")
    assert not Path("o.parquet").exists()
    if stopped:
        with pytest.raises(CheckpointDamaged, match="is damaged"):
            run(sim)
    assert sim.stats()["answered"] == before


def test_a_reader_that_finds_every_row_need_not_count(simulator, monkeypatch):
    """A whole job is exported without SQLite's check of the file; a part of one is verified once."""
    sim = simulator()
    write(prompts_of(), group=16)
    run(sim, limit=10)
    checks = []
    monkeypatch.setattr("batchchat.checkpoint.database.Database.check_pages", lambda _: checks.append(1))
    export_job("t.completions.parquet.batchchat", "o.parquet")
    assert checks == []
    journal = read_journal("t.completions.parquet.batchchat")
    for start in (1, 5, 20):
        journal.results((journal.header("begun"),), start, 30, ("completion",))
    journal.close()
    assert len(checks) == 1

"""The checkpoint: what is committed is there, what was flipped is found, one writes."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from batchchat.checkpoint import Mark, exists, is_running, move_aside, open_journal, read_journal
from batchchat.checkpoint.schema import FORMAT
from batchchat.errors import BadRequest, CheckpointBusy, CheckpointDamaged, StorageFull, UsageError
from batchchat.records import Attempts, Completion, Outcome, Usage

NAMES = ("completion", "finish_reason", "prompt_tokens", "completion_tokens", "total_tokens", "error")


def answered(row: int, content: str = "yes", *, key: bytes | None = None, reason: str = "stop") -> Outcome:
    usage = Usage(prompt_tokens=10, completion_tokens=2, total_tokens=12)
    done = Completion(contents=(content,), finish_reasons=(reason,), usage=usage, model="m", latency=0.5)
    return Outcome(row=row, key=key or b"key%d" % row, completion=done, at=1.0)


def failed(row: int, message: str = "no", *, key: bytes | None = None) -> Outcome:
    error = BadRequest(message, status=400, type="invalid_request_error", code="x")
    return Outcome(row=row, key=key or b"key%d" % row, error=error, at=1.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.csv.batchchat"


@pytest.fixture
def journal(path: Path):
    opened = open_journal(path)
    yield opened
    opened.close()


def test_what_was_committed_is_read_back(journal):
    """Result columns come back as they were committed, nulls where a row has no outcome."""
    settings = journal.settings_id({"model": "m"})
    journal.commit(settings, [answered(1), failed(3)])
    columns = journal.results((settings,), 1, 4, NAMES)
    assert columns["completion"] == ["yes", None, None, None]
    assert columns["finish_reason"] == ["stop", None, None, None]
    assert columns["prompt_tokens"] == [10, None, None, None]
    assert columns["error"] == [None, None, "invalid_request_error: no (HTTP 400)", None]


def test_several_choices_are_lists(journal):
    """With several choices completion and finish_reason are lists, null choices included."""
    settings = journal.settings_id({"model": "m"})
    done = Completion(contents=("a", None), finish_reasons=("stop", "content_filter"), usage=Usage())
    journal.commit(settings, [Outcome(row=1, key=b"k", completion=done)])
    columns = journal.results((settings,), 1, 1, NAMES)
    assert columns["completion"] == [["a", None]]
    assert columns["finish_reason"] == [["stop", "content_filter"]]


@pytest.mark.parametrize("text", ["a\0b", "\u202eright to left", "\ufffd", "x" * 5_000_000, "", "\x1f\x1f", "'\"\\"])
def test_any_text_survives(journal, text):
    """A completion comes back byte for byte, NUL and five megabytes included."""
    settings = journal.settings_id({"model": "m"})
    journal.commit(settings, [answered(1, text)])
    assert journal.results((settings,), 1, 1, NAMES)["completion"] == [text]


def test_counters_follow_what_is_stored(journal):
    """Counters know answered and failed rows and their tokens, also when an outcome takes another's place."""
    settings = journal.settings_id({"model": "m"})
    journal.commit(settings, [answered(1), failed(2), failed(3)])
    journal.commit(settings, [answered(2)])
    counts = journal.counts_of(settings)
    assert (counts.answered, counts.failed, counts.prompt_tokens, counts.completion_tokens) == (2, 1, 20, 4)
    assert journal.counts((settings,), 2).failed == 0


@pytest.mark.skipif(sys.platform == "win32", reason="a process has no limit on the size of files there")
def test_what_could_not_be_committed_is_not_counted(journal, path):
    """After a commit that found the disk full the counters are those of what is stored, and so they are after it."""
    import resource

    settings = journal.settings_id({"model": "m"})
    journal.commit(settings, [answered(1), failed(2)])
    journal.note_mark(settings, 1, Mark(size=9, digest=b"d", complete=False))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name(f"{path.name}-wal").stat().st_size, limits[1]))
    try:
        with pytest.raises(StorageFull, match="full or failing"):
            journal.commit(settings, [answered(row) for row in range(3, 9)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert journal.counts_of(settings).answered == 1
    journal.commit(settings, [answered(row) for row in range(3, 9)])
    assert (journal.counts_of(settings).answered, journal.counts_of(settings).failed) == (7, 1)
    assert journal.mark(settings, 1) is not None
    with contextlib.closing(sqlite3.connect(path)) as database:
        of_settings = "SELECT answered, failed FROM counters WHERE settings = ?"
        assert database.execute(of_settings, (settings,)).fetchall() == [(7, 1)]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (sqlite3.SQLITE_FULL, "cannot be written .*free some space"),
        (sqlite3.SQLITE_IOERR_FSYNC, "full or failing"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "cannot be written .*allow it"),
        (sqlite3.SQLITE_CANTOPEN, r"cannot be opened .*ulimit -n"),
        (sqlite3.SQLITE_BUSY, "is kept locked .*--checkpoint"),
        (sqlite3.SQLITE_IOERR_LOCK, "cannot be locked .*local disk with --checkpoint"),
        (sqlite3.SQLITE_IOERR_SHMMAP, "cannot be locked .*local disk with --checkpoint"),
        (sqlite3.SQLITE_NOMEM, "cannot be used"),
    ],
)
def test_what_sqlite_says_becomes_what_to_do(journal, code, words):
    """A fault of the disk is told with the file and the remedy that fits it, and stops the job."""

    def fail():
        error = sqlite3.OperationalError("its own words")
        error.sqlite_errorcode = code
        raise error

    with pytest.raises(StorageFull, match=words) as caught, journal._db.translated():
        fail()
    assert str(journal.path) in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="no flock there")
def test_a_file_system_without_locks_is_told(path, monkeypatch):
    """Where a file cannot be locked nothing is made, and the message names --checkpoint."""

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(UsageError, match=r"has no locks \(No locks available\); .*--checkpoint"):
        open_journal(path)
    assert list(path.parent.iterdir()) == []


def test_a_failure_never_replaces_an_answer(journal):
    """When an answered row is sent again and fails, the answer that was paid for stays."""
    settings = journal.settings_id({"model": "m"})
    journal.commit(settings, [answered(1, "paid")])
    journal.commit(settings, [failed(1)])
    assert journal.results((settings,), 1, 1, NAMES)["completion"] == ["paid"]
    assert journal.counts_of(settings).failed == 0


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (answered(1), "answered"),
        (answered(1, reason="length"), "length"),
        (answered(1, ""), "empty"),
        (failed(1), "failed"),
    ],
)
def test_a_stored_outcome_tells_its_kind(journal, outcome, state):
    """A resume learns which rows are answered, cut by length, empty or failed."""
    settings = journal.settings_id({"model": "m"})
    journal.commit(settings, [outcome])
    assert journal.stored(settings, 1, 1)[1].state == state


def test_settings_are_kept_apart(journal):
    """Answers of other settings are never mixed in unless they stand in the chain."""
    one, two = journal.settings_id({"model": "a"}), journal.settings_id({"model": "b"})
    journal.commit(one, [answered(1, "a"), answered(2, "a")])
    journal.commit(two, [answered(2, "b")])
    assert journal.results((two,), 1, 2, NAMES)["completion"] == [None, "b"]
    assert journal.results((two, one), 1, 2, NAMES)["completion"] == ["a", "b"]


def test_the_chain_prefers_any_answer_to_a_failure(journal):
    """Of a chain each row gives its first answer, and a failure only where there is no answer."""
    one, two = journal.settings_id({"model": "a"}), journal.settings_id({"model": "b"})
    journal.commit(one, [answered(1, "a"), failed(2)])
    journal.commit(two, [failed(1), failed(2, "later")])
    columns = journal.results((two, one), 1, 2, NAMES)
    assert columns["completion"] == ["a", None]
    assert columns["error"][1].startswith("invalid_request_error: later")
    counts = journal.counts((two, one), None)
    assert (counts.answered, counts.failed) == (1, 1)


def test_a_base_is_remembered(journal):
    """Settings that keep another's answers are a chain, also after they are asked for again."""
    one = journal.settings_id({"model": "a"})
    two = journal.settings_id({"model": "b"}, base=one)
    assert journal.settings_id({"model": "b"}) == two
    assert journal.chain(two) == (two, one)


def test_an_answer_moves_with_its_row(journal):
    """What was set aside is claimed by key, once, and is not counted meanwhile."""
    settings = journal.settings_id({"model": "m"})
    journal.commit(settings, [answered(1, "one", key=b"A"), answered(2, "two", key=b"B")])
    journal.set_aside(settings, [1, 2])
    assert journal.counts_of(settings).answered == 0
    assert journal.claim(settings, b"B", 1).state == "answered"
    assert journal.claim(settings, b"A", 2).state == "answered"
    assert journal.claim(settings, b"A", 3) is None
    assert journal.results((settings,), 1, 2, NAMES)["completion"] == ["two", "one"]
    assert not journal.has_unclaimed(settings)


def test_two_of_the_same_request_are_two_answers(journal):
    """Equal requests are interchangeable, and each answer is claimed by one row."""
    settings = journal.settings_id({"model": "m"})
    journal.commit(settings, [answered(1, key=b"A"), answered(2, key=b"A")])
    journal.set_aside(settings, [1, 2])
    got = [journal.claim(settings, b"A", row) is not None for row in (7, 8, 9)]
    assert got == [True, True, False]


def test_a_failed_transaction_changes_nothing(journal):
    """A transaction that is given up leaves outcomes and counters as they were."""
    settings = journal.settings_id({"model": "m"})
    journal.commit(settings, [answered(1)])
    with pytest.raises(ZeroDivisionError), journal.transaction():
        journal.set_aside(settings, [1])
        raise ZeroDivisionError
    assert journal.counts_of(settings).answered == 1
    assert 1 in journal.stored(settings, 1, 1)


def test_marks_are_written_with_the_next_commit(path):
    """What is known of a batch becomes durable together with outcomes, and never before."""
    journal = open_journal(path)
    settings = journal.settings_id({"model": "m"})
    journal.note_mark(settings, 1, Mark(size=3, digest=b"d", complete=False))
    assert journal.mark(settings, 1) is None
    journal.commit(settings, [answered(1)])
    journal.complete(settings)
    journal.close()
    journal = read_journal(path)
    assert journal.mark(settings, 1) == Mark(size=3, digest=b"d", complete=True)
    journal.close()


def test_a_clean_exit_leaves_one_file(path):
    """After close there is the one file, that any program can open."""
    journal = open_journal(path)
    settings = journal.settings_id({"model": "m"})
    journal.commit(settings, [answered(1)])
    journal.close()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    rows = sqlite3.connect(path).execute("SELECT settings, row, completion FROM results").fetchall()
    assert rows == [(settings, 1, "yes")]


def test_readers_see_what_was_committed_while_a_run_writes(path):
    """A reader opens the file beside the writer and sees its commits."""
    writer = open_journal(path)
    settings = writer.settings_id({"model": "m"})
    writer.commit(settings, [answered(1)])
    reader = read_journal(path)
    assert reader.counts_of(settings).answered == 1
    writer.commit(settings, [answered(2)])
    assert reader.counts_of(settings).answered == 2
    reader.close()
    writer.close()


def test_one_writer(path):
    """A second writer is refused while the first lives, and says who it is; afterwards it may write."""
    first = open_journal(path)
    assert is_running(path)
    with pytest.raises(CheckpointBusy, match=str(os.getpid())):
        open_journal(path)
    with pytest.raises(CheckpointBusy):
        move_aside(path)
    first.close()
    assert not is_running(path)
    open_journal(path).close()


def test_the_lock_of_a_killed_run_is_free(path):
    """A run that was killed leaves its lock file, and the next one takes it over."""
    code = f"""
        import os, signal
        from batchchat.checkpoint import open_journal
        open_journal({str(path)!r})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert Path(f"{path}-lock").exists()
    assert not is_running(path)
    open_journal(path).close()
    assert not Path(f"{path}-lock").exists()


def test_a_flipped_byte_in_a_value_is_found(path):
    """A byte that changed within a value is found when it is read, and the file is left as it is."""
    journal = open_journal(path)
    settings = journal.settings_id({"model": "m"})
    journal.commit(settings, [answered(1, "unmistakable")])
    journal.close()
    content = path.read_bytes()
    at = content.index(b"unmistakable")
    path.write_bytes(content[:at] + b"U" + content[at + 1 :])
    damaged = path.read_bytes()
    reader = read_journal(path)
    with pytest.raises(CheckpointDamaged, match="--restart"):
        reader.results((settings,), 1, 1, NAMES)
    reader.close()
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("text", [b"unmistakable", b"CREATE TABLE outcomes"], ids=["value", "table"])
def test_bytes_that_are_no_text_are_damage(path, text):
    """A byte that is no UTF-8 any more, in a value or in SQLite's own tables, is told as damage."""
    journal = open_journal(path)
    settings = journal.settings_id({"model": "m"})
    journal.commit(settings, [answered(1, "unmistakable")])
    journal.close()
    content = path.read_bytes()
    at = content.index(text) + 9
    path.write_bytes(content[:at] + b"\xff" + content[at + 1 :])

    def read():
        with contextlib.closing(read_journal(path)) as reader:
            reader.results((settings,), 1, 1, NAMES)

    with pytest.raises(CheckpointDamaged, match="--restart"):
        read()


def test_an_answer_of_another_request_is_never_claimed(journal):
    """Where the index of unclaimed answers names a row of another key, that is damage and no answer."""
    settings = journal.settings_id({"model": "m"})
    journal.commit(settings, [answered(1, "one", key=b"one")])
    journal.set_aside(settings, [1])
    # What a flipped byte in the index would do: the row has another key than the index says.
    (unclaimed,) = journal.database.sealed_list("outcomes", "", ())
    journal._db.one = lambda *_: (unclaimed[0],)
    with pytest.raises(CheckpointDamaged, match="index"):
        journal.claim(settings, b"two", 2)


def test_a_change_that_could_not_be_committed_is_noted_again(journal, path):
    """After a commit that failed the next one says that the output is no longer what is stored."""
    settings = journal.settings_id({"model": "m"})
    journal.set_header(changed=False)
    with pytest.raises(ZeroDivisionError), journal.transaction():
        journal.commit(settings, [answered(1)])
        raise ZeroDivisionError
    journal.commit(settings, [answered(1)])
    assert journal.header("changed") is True


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\0" * 5000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_checkpoint_is_left_alone(path, content):
    """Something else in the checkpoint's place is refused and not changed."""
    path.write_bytes(content)
    with pytest.raises(CheckpointDamaged):
        open_journal(path)
    assert path.read_bytes() == content
    assert not Path(f"{path}-lock").exists()


def test_another_programs_database_is_left_alone(path):
    """An SQLite file of another program is refused and not changed."""
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(CheckpointDamaged, match="no checkpoint"):
        open_journal(path)
    assert path.read_bytes() == before


def test_a_later_format_is_refused(path):
    """A checkpoint of a newer version is left as it is, and the message says so."""
    open_journal(path).close()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(CheckpointDamaged, match="format 99"):
        open_journal(path)


def test_moved_aside_it_is_whole(path):
    """--restart keeps the old checkpoint readable under another name, never over an older one."""
    names = set()
    for nth in range(3):
        journal = open_journal(path)
        settings = journal.settings_id({"model": "m"})
        journal.commit(settings, [answered(1, f"answer {nth}")])
        journal.close()
        aside = move_aside(path)
        names.add(aside)
        kept = read_journal(aside)
        assert kept.results((settings,), 1, 1, NAMES)["completion"] == [f"answer {nth}"]
        kept.close()
    assert len(names) == 3
    assert not path.exists()


def test_an_empty_file_is_no_checkpoint(path):
    """A checkpoint appears whole, so a file without content is one that lost it, and nothing is paid again for it."""
    path.touch()
    with pytest.raises(CheckpointDamaged, match="--restart"):
        open_journal(path)
    assert path.read_bytes() == b""


def test_a_checkpoint_appears_whole(path):
    """What a kill left of one that was being made is in nobody's way."""
    Path(f"{path}-new").write_bytes(b"half a check")
    open_journal(path).close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_log_without_its_checkpoint_is_told(path):
    """Where the file was deleted or moved without its log, what the log holds is not thrown away in silence."""
    Path(f"{path}-wal").write_bytes(b"answers")
    with pytest.raises(CheckpointDamaged, match=r"log .* without its checkpoint"):
        open_journal(path)
    assert [file.name for file in path.parent.iterdir()] == [f"{path.name}-wal"]


@pytest.mark.parametrize("pages", range(12))
def test_a_file_that_was_cut_is_found(path, pages):
    """A checkpoint that was cut at the end of any page is damaged, and left as it is."""
    journal = open_journal(path)
    journal.commit(journal.settings_id({"model": "m"}), [answered(row, "x" * 500) for row in range(1, 60)])
    journal.close()
    content = path.read_bytes()[: pages * 4096]
    assert len(content) == pages * 4096
    path.write_bytes(content)
    with pytest.raises(CheckpointDamaged):
        open_journal(path)
    assert path.read_bytes() == content


def test_what_was_added_to_the_file_is_found(path):
    """A checkpoint with bytes behind its last page is damaged."""
    open_journal(path).close()
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(CheckpointDamaged, match="bytes instead of"):
        open_journal(path)


@pytest.fixture
def killed(path, tmp_path):
    """A checkpoint as a kill leaves it, with answers in its log."""
    journal = open_journal(path)
    settings = journal.settings_id({"model": "m"})
    journal.commit(settings, [answered(1)])
    journal.commit(settings, [answered(2)])
    kept = tmp_path / "killed"
    kept.mkdir()
    for suffix in ("", "-wal", "-lock"):
        shutil.copyfile(f"{path}{suffix}", f"{kept / path.name}{suffix}")
    journal.close()
    return kept / path.name


def test_what_a_kill_leaves_is_whole(killed):
    """After a kill every commit is there, and a clean end leaves the one file."""
    journal = open_journal(killed)
    assert journal.counts_of(1).answered == 2
    journal.close()
    assert [file.name for file in killed.parent.iterdir()] == [killed.name]


@pytest.mark.parametrize("fate", ["gone", "cut", "flipped"])
def test_a_log_that_lost_commits_is_found(killed, fate):
    """Where the log that a kill left is gone, cut or damaged, its answers are missed, every time it is opened."""
    log = Path(f"{killed}-wal")
    content = log.read_bytes()
    if fate == "gone":
        log.unlink()
    elif fate == "cut":
        log.write_bytes(content[: len(content) // 2])
    else:
        log.write_bytes(content[:-100] + b"?" + content[-99:])
    for _ in range(2):
        with pytest.raises(CheckpointDamaged, match=r"lacks [12] of 2 commits"):
            open_journal(killed)
    aside = move_aside(killed)
    assert not exists(killed)
    assert exists(aside)
    open_journal(killed).close()


def test_a_checkpoint_that_was_deleted_is_not_missed(killed):
    """Who deletes the file and its log may begin anew, whatever the lock file says."""
    killed.unlink()
    Path(f"{killed}-wal").unlink()
    open_journal(killed).close()


def test_a_log_that_cannot_be_folded_moves_with_its_checkpoint(killed):
    """`--restart` of a checkpoint that this version cannot open keeps its log beside it, under the new name."""
    content = killed.read_bytes()
    assert content[63] == FORMAT
    killed.write_bytes(content[:63] + b"\x63" + content[64:])
    Path(f"{killed}-wal").write_bytes(b"what a later version may have written")
    content = Path(f"{killed}-wal").read_bytes()
    aside = move_aside(killed)
    assert Path(f"{aside}-wal").read_bytes() == content
    assert all(file.name.startswith(aside.name) for file in killed.parent.iterdir())


def test_a_move_that_was_killed_in_its_middle_loses_nothing(killed):
    """Between the renames of the file and its log both names of the log are there, and the next run begins anew."""
    aside = killed.with_name("aside.batchchat")
    Path(f"{aside}-wal").hardlink_to(f"{killed}-wal")
    killed.rename(aside)
    journal = open_journal(killed)
    assert journal.last_row(1) == 0
    journal.close()
    with contextlib.closing(open_journal(aside)) as kept:
        assert kept.counts_of(1).answered == 2


@pytest.mark.parametrize("opened", [open_journal, read_journal])
def test_what_a_kill_left_half_done_is_undone(path, opened):
    """A rollback journal that a kill left at the very end or start of a run is in nobody's way, not in a reader's."""
    open_journal(path).close()
    held = sqlite3.connect(path, isolation_level=None)
    held.execute("PRAGMA cache_size = 1")
    held.execute("PRAGMA cache_spill = 1")
    held.execute("BEGIN IMMEDIATE")
    held.execute("INSERT INTO header VALUES ('job', 'half-written', 0)")
    held.execute("INSERT INTO header VALUES ('more', ?, 0)", ("x" * 500_000,))
    half = path.with_name("half.batchchat")
    shutil.copyfile(path, half)
    shutil.copyfile(f"{path}-journal", f"{half}-journal")
    held.close()
    with contextlib.closing(opened(half)) as journal:
        assert journal.header("job") is None


def test_nothing_is_folded_into_a_damaged_file(path):
    """After damage was found in a row, what was written since stays in the log: the file is not touched further."""
    journal = open_journal(path)
    settings = journal.settings_id({"model": "m"})
    journal.commit(settings, [answered(1, "unmistakable")])
    journal.close()
    content = path.read_bytes()
    at = content.index(b"unmistakable")
    path.write_bytes(content[:at] + b"U" + content[at + 1 :])
    journal = open_journal(path)
    opened = path.read_bytes()
    journal.start_run(settings, {})
    with pytest.raises(CheckpointDamaged):
        journal.stored(settings, 1, 1)
    journal.close()
    assert path.read_bytes() == opened
    assert not is_running(path)


def test_runs_have_a_history(journal):
    """Each run is written down with its start, its end and what it came to."""
    settings = journal.settings_id({"model": "m"})
    number = journal.start_run(settings, {"rows": 5})
    journal.end_run(number, {"requests": 6})
    (run,) = journal.runs()
    assert (run["rows"], run["requests"], run["settings"]) == (5, 6, settings)
    assert run["ended"] >= run["started"]


def test_attempts_are_kept(journal):
    """How many attempts a row took, and how many may have been paid for nothing, is kept."""
    settings = journal.settings_id({"model": "m"})
    done = answered(1)
    journal.commit(
        settings,
        [Outcome(row=1, key=b"k", completion=done.completion, attempts=Attempts(sent=3, paid_for_nothing=2), at=2.0)],
    )
    assert journal.results((settings,), 1, 1, ("attempts", "paid_for_nothing", "latency")) == {
        "attempts": [3],
        "paid_for_nothing": [2],
        "latency": [0.5],
    }

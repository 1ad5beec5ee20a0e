"""`batchchat.run` and `batchchat.arun`, against the simulator over a socket."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

import batchchat
from batchchat.api import export_job, job_status, resume_job
from batchchat.cli.options import NOT_OF_THE_JOB, SHARED
from batchchat.python.options import Options
from batchchat.python.wording import in_python

RESULTS = ["completion", "finish_reason", "prompt_tokens", "completion_tokens", "total_tokens", "error"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "BATCHCHAT_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def to(sim, **options):
    """The options of a call that asks the simulator."""
    return {"base_url": sim.base_url, "model": "sim", "concurrency": 4, **options}


def asked(sim) -> int:
    return sim.stats()["received"]


def prompts(*texts, **columns):
    return pd.DataFrame({"prompt": list(texts), **columns})


def many(count, start=0):
    return prompts(*(f"p{n}" for n in range(start, start + count)))


def checkpoints():
    return sorted(Path(".batchchat").glob("*.batchchat"))


def there():
    return sorted(path.name for path in Path().iterdir())


# What comes back.


def test_a_dataframe_gets_its_answers_beside_its_own_columns(simulator):
    """The index and the dtypes of its own columns are kept, the order too, and the caller's frame is left alone."""
    kinds = {"id": np.array([3, 1, 2], dtype="int8"), "when": pd.to_datetime(["2020-01-01", None, "2021-01-01"])}
    kinds |= {"kind": pd.Categorical(["a", "b", "a"]), "cell": [[1], {"x": 2}, None]}
    frame = prompts("one", "two", "three", **kinds).set_index(pd.Index(["i", "j", "j"], name="key"))
    before = frame.copy()

    found = batchchat.run(frame, **to(simulator(text="echo")))

    pd.testing.assert_frame_equal(found[list(before)], before)
    pd.testing.assert_frame_equal(frame, before)
    assert list(found) == [*before, *RESULTS]
    assert found.completion.tolist() == ["one", "two", "three"]
    assert found.finish_reason.tolist() == ["stop"] * 3
    assert found.dtypes[["prompt_tokens", "completion_tokens", "total_tokens"]].tolist() == ["Int64"] * 3
    assert found.error.isna().all()


def test_a_table_gets_its_answers_beside_its_own_columns(simulator):
    """Types, chunks and the metadata of schema and fields of a Table are kept."""
    schema = pa.schema(
        [pa.field("prompt", pa.large_string(), metadata={"a": "b"}), pa.field("d", pa.decimal128(5, 2))],
        metadata={b"whose": b"mine"},
    )
    piece = pa.table({"prompt": ["one", "two"], "d": [None, 1]}, schema=schema)
    table = pa.concat_tables([piece, piece.slice(1)])

    found = batchchat.run(table, **to(simulator(text="echo")))

    assert isinstance(found, pa.Table)
    assert found.schema.metadata == {b"whose": b"mine"}
    assert found.select(["prompt", "d"]).equals(table, check_metadata=True)
    assert found.column_names == ["prompt", "d", *RESULTS]
    assert found["completion"].to_pylist() == ["one", "two", "two"]
    assert found.schema.field("total_tokens").type == pa.int64()


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_gives_the_path_of_its_output(simulator, kind):
    """A table in a file is answered as on the command line, and the output's path comes back."""
    Path("in.csv").write_text("prompt\none\n")
    found = batchchat.run(kind("in.csv"), **to(simulator(text="echo")))
    assert found == "in.completions.csv"
    assert "one,one,stop" in Path(found).read_text()
    assert batchchat.run(kind("in.csv"), output=Path("o.parquet"), **to(simulator())) == "o.parquet"


def test_a_job_file_is_a_path_too(simulator):
    """A job file says what is asked; options go before it."""
    sim = simulator(text="echo")
    Path("in.csv").write_text("text\none\n")
    Path("job.toml").write_text(f'input = "in.csv"\n[endpoint]\nbase_url = "{sim.base_url}"\n[request]\nmodel = "m"\n')
    assert batchchat.run("job.toml", prompt="say {{ text }}", output="o.csv") == "o.csv"
    assert "say one" in Path("o.csv").read_text()


def test_rows_that_failed_stay_with_their_error(simulator, caplog):
    """A row that is refused comes back with its error and nothing else; a warning says how many."""
    found = batchchat.run(prompts("one", "@@400 two", None, " "), **to(simulator()))
    assert found.completion.isna().tolist() == [False, True, True, True]
    assert found.total_tokens.isna().tolist() == [False, True, True, True]
    assert "(HTTP 400)" in found.error[1]
    assert "null" in found.error[2]
    assert "blank" in found.error[3]
    assert any("3 of 4 rows failed" in record.message for record in caplog.records if record.levelname == "WARNING")


def test_several_choices_are_lists(simulator):
    """With n above 1 a completion is a list of texts, in a DataFrame and in a Table."""
    sim = simulator(text="echo")
    assert batchchat.run(prompts("one"), **to(sim, n=2)).completion[0] == ["one", "one"]
    found = batchchat.run(pa.table({"prompt": ["one"]}), **to(sim, n=2))
    assert found.schema.field("completion").type == pa.list_(pa.string())


def test_an_empty_table_needs_no_request(simulator):
    """No rows, no requests: the columns are there."""
    sim = simulator()
    assert list(batchchat.run(many(0), **to(sim))) == ["prompt", *RESULTS]
    assert batchchat.run(pa.table({"prompt": pa.array([], pa.string())}), **to(sim)).num_rows == 0
    assert asked(sim) == 0


def test_a_limit_gives_the_first_rows(simulator):
    """`limit` gives the first N rows; without it, the same job goes on."""
    sim = simulator()
    frame = many(10)
    assert len(batchchat.run(frame, **to(sim, limit=4))) == 4
    assert batchchat.run(pa.Table.from_pandas(frame), **to(sim, limit=4)).num_rows == 4
    assert len(batchchat.run(frame, **to(sim))) == 10
    assert asked(sim) == 10


def test_a_trial_gives_its_rows(simulator):
    """`sample` and `rows` give those rows with their answers, and what they paid for is not paid again."""
    sim = simulator(text="echo")
    frame = many(10).set_index(pd.Index(range(100, 110)))
    tried = batchchat.run(frame, **to(sim, rows=[2, 5]))
    assert tried.index.tolist() == [101, 104]
    assert tried.completion.tolist() == ["p1", "p4"]
    assert len(batchchat.run(frame, **to(sim, rows=range(2, 4)))) == 2
    assert batchchat.run(pa.Table.from_pandas(frame), **to(sim, sample=3)).num_rows == 3
    batchchat.run(frame, **to(sim))
    assert asked(sim) == 10


# What it does not pay again.


def test_the_same_call_costs_nothing(simulator):
    """The same call finds its checkpoint by itself, sends nothing, and gives the same table."""
    sim = simulator()
    first = batchchat.run(prompts("one", "@@400 two"), **to(sim))
    again = batchchat.run(prompts("one", "@@400 two"), **to(sim))
    assert asked(sim) == 2
    pd.testing.assert_frame_equal(first, again)


@pytest.mark.parametrize(
    ("edit", "cost"),
    [
        (lambda frame: frame.assign(prompt=["edited", *frame.prompt[1:]]), 1),
        (lambda frame: pd.concat([frame, prompts("added")], ignore_index=True), 1),
        (lambda frame: frame.iloc[::-1], 0),
        (lambda frame: frame.head(3), 0),
        (lambda frame: frame.sample(5, random_state=1), 0),
        (lambda frame: frame.assign(more=1, prompt=frame.prompt.astype(object)), 0),
        (lambda frame: frame.set_index(frame.index + 7), 0),
        (pa.Table.from_pandas, 0),
        (lambda frame: frame.assign(prompt=[*frame.prompt[:5], *"abcde"]), 5),
    ],
    ids=["edited", "added", "reversed", "sliced", "sampled", "more columns", "reindexed", "as a Table", "half edited"],
)
def test_a_table_that_changed_costs_what_changed(simulator, edit, cost):
    """Edited, added, moved and sliced rows find the checkpoint of the earlier call, and cost only themselves."""
    sim = simulator(text="echo")
    frame = many(10)
    batchchat.run(frame, **to(sim))
    found = batchchat.run(edit(frame), **to(sim))
    assert asked(sim) == 10 + cost
    assert list(found["completion"].to_pylist() if isinstance(found, pa.Table) else found.completion) == list(
        found["prompt"].to_pylist() if isinstance(found, pa.Table) else found.prompt
    )
    batchchat.run(frame, **to(sim))
    assert asked(sim) == 10 + cost


def test_a_trial_on_a_slice_counts_for_the_whole(simulator):
    """What was answered for the head, or for a random sample, is not paid again with the whole table."""
    sim = simulator()
    frame = many(50)
    batchchat.run(frame.head(5), **to(sim))
    batchchat.run(frame.sample(10, random_state=0), **to(sim))
    known = asked(sim)
    batchchat.run(frame, **to(sim))
    assert asked(sim) <= 50 + 5  # of two checkpoints that know some rows one is taken
    assert asked(sim) >= known


def test_other_rows_and_other_settings_are_other_jobs(simulator):
    """A call with other rows, another model or another prompt is neither refused nor mixed up with the first."""
    sim = simulator(text="echo")
    frame, other = many(5), many(5, start=100)
    calls = [(frame, {}), (other, {}), (frame, {"model": "m2"}), (frame, {"prompt": "x {{ prompt }}"})]
    for _ in range(2):
        for data, options in calls:
            batchchat.run(data, **(to(sim) | options))
    assert asked(sim) == 20
    assert len(checkpoints()) == 4


async def test_jobs_of_one_process_go_on_at_the_same_time(simulator):
    """Different rows and different models have different checkpoints, so nobody waits for anybody."""
    sim = simulator(text="echo", latency=0.05)
    calls = [batchchat.arun(many(4, start=10 * n), **to(sim, model=f"m{n % 2}")) for n in range(4)]
    found = await asyncio.gather(*calls)
    assert [table.completion[0] for table in found] == ["p0", "p10", "p20", "p30"]
    assert asked(sim) == 16


def test_kept_answers_are_found_under_other_settings(simulator):
    """`keep_answered` with a changed prompt sends only rows without an answer; so does the plain call after it."""
    sim = simulator(text="echo")
    frame = prompts("one", "@@400 two", "three")
    batchchat.run(frame, **to(sim))
    changed = to(sim, prompt="again {{ prompt | replace('@@400 ', '') }}")
    found = batchchat.run(frame, keep_answered=True, **changed)
    assert found.completion.tolist() == ["one", "again two", "three"]
    assert asked(sim) == 4
    assert batchchat.run(frame, **changed).completion.tolist() == ["one", "again two", "three"]
    assert asked(sim) == 4
    assert batchchat.run(frame, **to(sim)).error.notna().tolist() == [False, True, False]
    assert asked(sim) == 4


def test_retry_sends_only_those(simulator):
    """`retry="length"` with a longer limit sends those that were cut, and no other."""
    sim = simulator(tokens=20)
    frame = prompts("one", "@@empty two", "three")
    batchchat.run(frame, **to(sim, max_tokens=5))
    found = batchchat.run(frame, **to(sim, max_tokens=64, retry="length"))
    assert found.finish_reason.tolist() == ["stop"] * 3
    assert asked(sim) == 5


@pytest.mark.parametrize("option", [{"keep_answered": True}, {"retry": "failed"}])
def test_there_is_nothing_to_keep_where_nothing_was_answered(simulator, option):
    """`keep_answered` and `retry` without an earlier job on these rows would pay for all of them: a usage error."""
    sim = simulator()
    batchchat.run(many(3, start=50), **to(sim))
    with pytest.raises(batchchat.UsageError, match="checkpoint=PATH"):
        batchchat.run(many(3), **to(sim), **option)
    assert asked(sim) == 3


def test_restart_pays_anew(simulator):
    """`restart=True` keeps the old checkpoint aside, and the call after it finds the new one."""
    sim = simulator()
    for options in ({}, {"restart": True}, {}):
        batchchat.run(many(3), **to(sim), **options)
    assert asked(sim) == 6
    assert len(checkpoints()) == 2
    batchchat.run(many(4), **to(sim))
    assert asked(sim) == 7


def test_a_named_checkpoint_is_taken_at_its_word(simulator):
    """With `checkpoint=` the job is the one that was named: other settings are refused, and named."""
    sim = simulator()
    batchchat.run(many(3), checkpoint=Path("mine.batchchat"), **to(sim))
    assert Path("mine.batchchat").exists()
    assert not Path(".batchchat").exists()
    with pytest.raises(batchchat.UsageError, match=r"temperature.*\n.*keep_answered=True.*checkpoint=OTHER.*"):
        batchchat.run(many(3), checkpoint="mine.batchchat", **to(sim, temperature=1))
    assert asked(sim) == 3


def test_the_folder_of_checkpoints_is_not_for_git(simulator, caplog):
    """`.batchchat` tells git to pass it by, and the log names the checkpoint."""
    caplog.set_level(logging.INFO, "batchchat")
    batchchat.run(many(1), **to(simulator()))
    assert Path(".batchchat/.gitignore").read_text() == "*\n"
    (checkpoint,) = checkpoints()
    assert str(checkpoint.absolute()) in caplog.text


# What it writes.


def test_an_output_is_written_as_well(simulator):
    """`output` gets the table too; a DataFrame's index is kept in Parquet, its named levels in CSV."""
    sim = simulator(text="echo")
    frame = many(3).set_index(pd.Index(["a", "b", "c"], name="key"))
    found = batchchat.run(frame, output="o.parquet", **to(sim))
    written = pd.read_parquet("o.parquet")
    assert written.index.equals(frame.index)
    assert written.completion.tolist() == found.completion.tolist() == ["p0", "p1", "p2"]
    batchchat.run(frame, output="o.csv", **to(sim))
    assert Path("o.csv").read_text().splitlines()[0] == ",".join(["key", "prompt", *RESULTS])
    batchchat.run(pa.table({"prompt": ["p0"], "k": [[1]]}), output="o.jsonl", **to(sim))
    assert json.loads(Path("o.jsonl").read_text())["k"] == [1]
    assert asked(sim) == 3


def test_an_output_follows_the_columns_that_are_not_asked(simulator):
    """A column that the prompt does not read may change: nothing is sent, and the output is written anew."""
    sim = simulator()
    for note in ("old", "new"):
        batchchat.run(many(2).assign(note=note), output="o.csv", **to(sim))
    assert "new" in Path("o.csv").read_text()
    assert asked(sim) == 2


@pytest.mark.parametrize(
    ("output", "frame", "message"),
    [
        ("o.parquet", prompts("a", "b", mixed=[1, "x"]), r"cannot be written to o\.parquet.*mixed"),
        ("o.txt", prompts("a"), r"o\.txt: unknown suffix"),
        ("none/o.csv", prompts("a"), "none"),
        ("o.csv", prompts("a").rename_axis("prompt"), "both named 'prompt'"),
        ("theirs.csv", prompts("a"), "overwrite=True"),
    ],
)
def test_an_output_that_cannot_be_written_is_told_before(simulator, output, frame, message):
    """What would make the output impossible is found before the first request, and no file is made."""
    sim = simulator()
    Path("theirs.csv").write_text("theirs")
    with pytest.raises(batchchat.UsageError, match=message):
        batchchat.run(frame, output=output, **to(sim))
    assert asked(sim) == 0
    assert there() == ["theirs.csv"]


# Columns and values.


def test_labels_that_are_no_text_are_named_by_their_text(simulator):
    """Integer labels are columns by their digits; the frame that comes back keeps its own labels."""
    frame = pd.DataFrame([["one", 7], ["two", 8]])
    found = batchchat.run(frame, prompt="{{ row['0'] }} {{ row['1'] }}", output="o.csv", **to(simulator(text="echo")))
    assert found.completion.tolist() == ["one 7", "two 8"]
    assert found.columns.tolist() == [0, 1, *RESULTS]
    frame.columns = pd.CategoricalIndex(["prompt", "b"])
    assert batchchat.run(frame, **to(simulator())).columns.tolist() == ["prompt", "b", *RESULTS]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pd.DataFrame([["x", 1]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])), "MultiIndex.*flatten"),
        (pd.DataFrame([["x", "y"]], columns=["prompt", "prompt"]), "two columns are named 'prompt'"),
        (pd.DataFrame([["x", "y"]], columns=["prompt", "error"]), r"'error' already.*prefix="),
        (pd.DataFrame({"text": ["x"]}), "no column 'prompt'.*text"),
        ([{"prompt": "x"}], r"builtins\.list.*pandas\.DataFrame"),
        (pd.Series(["x"]), "to_frame"),
        (pa.record_batch({"prompt": ["x"]}), "from_batches"),
        (None, "NoneType"),
    ],
)
def test_data_that_cannot_be_asked_are_refused(simulator, data, message):
    """What is wrong with the data is a usage error that says what to do; nothing is sent, no file is made."""
    sim = simulator()
    with pytest.raises(batchchat.UsageError, match=message):
        batchchat.run(data, **to(sim))
    assert asked(sim) == 0
    assert there() == []


def test_a_prefix_makes_room(simulator):
    """`prefix` lets an answered table be asked again."""
    sim = simulator(text="echo")
    first = batchchat.run(prompts("one"), **to(sim))
    found = batchchat.run(first, prompt="and {{ completion }}", prefix="b_", **to(sim))
    assert found.b_completion.tolist() == ["and one"]


def test_values_are_what_people_wrote(simulator):
    """Values reach the template as Python's: floats with few digits, missing ones as nothing, dates as dates."""
    frame = pd.DataFrame(
        {
            "f": np.array([0.1, np.nan], dtype="float32"),
            "i": pd.array([1, None], dtype="Int64"),
            "t": pd.to_datetime(["2020-01-02", None]),
            "c": pd.Categorical(["x", None]),
            "l": [np.array(["a", "b"]), None],
            "s": pd.Series(["ä", None]),
        }
    )
    asks = "{{ f }}|{{ i }}|{{ t.year }}|{{ c }}|{{ l | join('+') if l }}|{{ s }}."
    asks = asks.replace("{{ t.year }}", "{{ t.year if t }}")
    found = batchchat.run(frame, prompt=asks, **to(simulator(text="echo")))
    assert found.completion.tolist() == ["0.1|1|2020|x|a+b|ä.", "|||||."]


def test_messages_may_be_arrays(simulator):
    """Pandas reads lists of structs from Parquet as numpy arrays: they are messages too."""
    sim = simulator(text="echo")
    table = pa.table({"m": [[{"role": "user", "content": "one"}], [{"role": "user", "content": "two"}]]})
    parquet.write_table(table, "m.parquet")
    found = batchchat.run(pd.read_parquet("m.parquet"), **to(sim, messages_column="m"))
    assert found.completion.tolist() == ["one", "two"]
    assert batchchat.run(table, **to(sim, messages_column="m"))["completion"].to_pylist() == ["one", "two"]
    assert asked(sim) == 2


def test_a_long_table_is_asked_in_batches(simulator):
    """More rows than one batch, in chunks of other sizes: every row has its own answer."""
    sim = simulator(text="echo", prompts=False)
    table = pa.concat_tables([pa.table({"prompt": [f"{n}.{m}" for m in range(700)]}) for n in range(4)])
    found = batchchat.run(table, **to(sim, concurrency=64))
    assert found["completion"].to_pylist() == table["prompt"].to_pylist()
    frame = batchchat.run(table.to_pandas(), **to(sim, concurrency=64))
    assert frame.completion.tolist() == frame.prompt.tolist()
    assert asked(sim) == 2800


# Where it runs.


async def test_run_works_where_a_loop_is_running(simulator):
    """`run` may be called inside of a running event loop, as in a notebook's cell."""
    assert batchchat.run(prompts("one"), **to(simulator(text="echo"))).completion[0] == "one"


async def test_arun_leaves_the_loop_to_others(simulator):
    """`arun` runs on the caller's loop, beside other tasks, and touches no signal handler."""
    before = signal.getsignal(signal.SIGINT)
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            assert signal.getsignal(signal.SIGINT) is before
            ticks += 1
            await asyncio.sleep(0.01)

    other = asyncio.create_task(tick())
    found = await batchchat.arun(prompts("one"), **to(simulator(text="echo", latency=0.2)))
    other.cancel()
    assert found.completion[0] == "one"
    assert ticks > 3


async def test_arun_takes_a_path(simulator, place):
    """`arun` gives the output's path for a path, as `run` does."""
    (place / "in.csv").write_text("prompt\none\n")
    assert await batchchat.arun("in.csv", **to(simulator())) == "in.completions.csv"


def test_run_works_in_a_thread(simulator):
    """`run` may be called from any thread."""
    options, found = to(simulator(text="echo")), []
    thread = threading.Thread(target=lambda: found.append(batchchat.run(prompts("one"), **options)))
    thread.start()
    thread.join()
    assert found[0].completion[0] == "one"


# Where it is stopped.


def test_a_stopped_job_raises_with_the_table_so_far(simulator):
    """The error is the reason's own; it has the table so far and the checkpoint, and the same call goes on."""
    sim = simulator(text="echo")
    frame = prompts("one", "two", "@@quota", "three", index=[1, 2, 3, 4]).set_index("index")
    with pytest.raises(batchchat.QuotaExhausted, match="the same call goes on") as stopped:
        batchchat.run(frame, **to(sim, concurrency=1))
    error = stopped.value
    assert isinstance(error, batchchat.JobStopped)
    assert error.table.completion[:2].tolist() == ["one", "two"]
    assert error.table.completion[2:].isna().all()
    assert error.table.index.equals(frame.index)
    assert Path(error.checkpoint).exists()
    with pytest.raises(batchchat.QuotaExhausted) as stopped:
        batchchat.run(pa.Table.from_pandas(frame, preserve_index=False), **to(sim, concurrency=1))
    assert stopped.value.table["completion"].to_pylist() == ["one", "two", None, None]
    assert asked(sim) <= 2 + 2 * 2


def test_a_stopped_path_has_its_checkpoint(simulator):
    """For a path there is no table; the checkpoint is named."""
    Path("in.csv").write_text("prompt\none\n")
    with pytest.raises(batchchat.KeyRefused) as stopped:
        batchchat.run("in.csv", **to(simulator(want_key=True)))
    assert stopped.value.table is None
    assert stopped.value.checkpoint == "in.completions.csv.batchchat"


async def test_a_second_run_of_the_same_job_is_told_so(simulator):
    """The same call while it runs raises CheckpointBusy at once, with what the first one has so far."""
    sim = simulator(text="echo")
    frame = prompts("one", "@@stall two")
    batchchat.run(prompts("one", "other"), **to(sim))
    first = asyncio.create_task(batchchat.arun(frame, **to(sim)))
    while asked(sim) < 3:
        await asyncio.sleep(0.01)
    with pytest.raises(batchchat.CheckpointBusy) as busy:
        await batchchat.arun(frame, **to(sim))
    assert busy.value.table.completion[0] == "one"
    assert busy.value.table.completion.isna().tolist() == [False, True]
    first.cancel()
    sim.drop_connections()
    with pytest.raises(asyncio.CancelledError):
        await first


def test_a_damaged_checkpoint_is_left_as_it_is(simulator):
    """A checkpoint that cannot be read raises, with the table without answers."""
    sim = simulator()
    batchchat.run(many(2), **to(sim))
    (path,) = checkpoints()
    path.write_bytes(b"x" * 5000)
    with pytest.raises(batchchat.CheckpointDamaged, match="restart=True") as stopped:
        batchchat.run(many(2), **to(sim))
    assert stopped.value.table.completion.isna().all()
    assert stopped.value.checkpoint == str(path.absolute())
    assert path.read_bytes() == b"x" * 5000


async def test_a_cancelled_call_keeps_what_was_in_flight(simulator):
    """A cancellation waits for the requests in flight and keeps their answers; the same call pays for the rest."""
    sim = simulator(text="echo", latency=0.4)
    call = asyncio.create_task(batchchat.arun(many(20), **to(sim)))
    while asked(sim) < 4:
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    paid = asked(sim)
    assert paid < 20
    assert sim.stats()["answered"] == paid
    sim.reset(latency=0)
    found = await batchchat.arun(many(20), **to(sim))
    assert asked(sim) == 20 - paid
    assert found.completion.tolist() == found.prompt.tolist()


async def test_a_timeout_of_the_caller_is_one(simulator):
    """`asyncio.timeout` around a call stops it in order, and is still a TimeoutError."""
    sim = simulator(latency=0.3)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await batchchat.arun(many(20), **to(sim))
    assert sim.stats()["answered"] == asked(sim) <= 4


INTERRUPTED = """
import logging, sys, pandas, batchchat
logging.basicConfig(level=logging.INFO)
frame = pandas.DataFrame({"prompt": [f"p{n}" for n in range(50)]})
try:
    batchchat.run(frame, base_url=sys.argv[1], model="sim", concurrency=4)
except KeyboardInterrupt as stopped:
    assert isinstance(stopped, batchchat.Interrupted)
    print(stopped.table.completion.notna().sum(), len(stopped.table), stopped.checkpoint)
"""


def interrupt(sim, times):
    """Runs the script above, interrupts it in flight, and gives what it printed."""
    command = [sys.executable, "-c", INTERRUPTED, sim.base_url]
    environ = {**os.environ, "PYTHONPATH": str(Path(batchchat.__file__).parents[1])}
    with subprocess.Popen(command, env=environ, text=True, stdout=-1, stderr=-1) as process:
        while asked(sim) < 4:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    return out.split()


def test_an_interrupt_drains_and_gives_the_table_so_far(simulator):
    """KeyboardInterrupt in `run` waits for what is in flight, and raises Interrupted with table and checkpoint."""
    sim = simulator(latency=1.0)
    answered, rows, checkpoint = interrupt(sim, times=1)
    assert int(answered) == asked(sim) == sim.stats()["answered"] < 50
    assert int(rows) == 50
    assert Path(checkpoint).exists()
    sim.reset(latency=0)
    assert batchchat.run(many(50), **to(sim)).error.isna().all()
    assert asked(sim) == 50 - int(answered)


def test_a_second_interrupt_ends_at_once(simulator):
    """A second KeyboardInterrupt does not wait for the requests in flight."""
    answered, rows, _ = interrupt(simulator(latency=100), times=2)
    assert (answered, rows) == ("0", "50")


# What it says.


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("--max-cost USD or --restart", "max_cost=USD or restart=True"),
        ("--price or --max-tokens", "price= or max_tokens="),
        ("--prompt: does not parse", "prompt: does not parse"),
        ("--temperature 3: must be", "temperature=3: must be"),
        ("another with -o", "another with output="),
        ("name one with -m (or --base-url http://x)", "name one with model= (or base_url=http://x)"),
        ("--retry-failed, --sample 5, --dry-run, a--b", "retry_failed=True, sample=5, --dry-run, a--b"),
        ("--prefix llm_.", "prefix='llm_'."),
    ],
)
def test_messages_call_options_as_python_does(said, meant):
    """A message that was written for the command line names keywords."""
    assert in_python(said) == meant


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temprature": 1}, "did you mean"),
        ({"temperature": 3}, r"^temperature=3: must be from 0 to 2"),
        ({"max_cost": 1}, "price="),
        ({"dry_run": True}, "dry_run"),
        ({"api_key_env": "NOT_THERE"}, r"api_key_env.*NOT_THERE"),
        ({"prompt": "{{ promt }}"}, "did you mean 'prompt'"),
        ({"prompt": "no column"}, "names no column"),
    ],
)
def test_a_wrong_option_is_a_usage_error(simulator, options, message):
    """What is wrong with an option is said in Python's words; nothing is sent, no file is made."""
    sim = simulator()
    with pytest.raises(batchchat.UsageError, match=message):
        batchchat.run(prompts("one"), **(to(sim) | options))
    assert asked(sim) == 0
    assert there() == []


def test_a_trial_of_a_path_is_refused():
    """A trial publishes nothing that could be returned for a path."""
    with pytest.raises(batchchat.UsageError, match="DataFrame"):
        batchchat.run("in.csv", model="m", sample=3)


def test_progress_can_be_silent(simulator, caplog, capfd):
    """`progress=False` shows nothing and warns of nothing; else it goes to the log, not to the terminal's streams."""
    caplog.set_level(logging.INFO, "batchchat")
    sim = simulator()
    batchchat.run(prompts("@@400 one"), progress=False, **to(sim))
    assert [record.message for record in caplog.records if "kept in" not in record.message] == []
    batchchat.run(prompts("@@400 one"), **to(sim))
    assert "1 row: 0 succeeded, 1 failed" in caplog.text
    assert capfd.readouterr() == ("", "")


class Kernel:
    """As much of IPython as a display needs."""

    def __init__(self):
        self.kernel = object()
        self.shown = []
        self.updates = []

    def get_ipython(self):
        return self

    def display(self, bundle, *, raw, display_id):
        assert raw
        assert display_id is True
        self.shown.append(bundle)
        return self

    def update(self, bundle, *, raw):
        assert raw
        self.updates.append(bundle)


@pytest.fixture
def kernel(monkeypatch):
    kernel = Kernel()
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    monkeypatch.setitem(sys.modules, "IPython.display", kernel)
    return kernel


async def test_a_notebook_gets_one_display(simulator, kernel, capfd):
    """In a notebook one display is updated in place, and ends with what the job came to and where answers are."""
    for call in (batchchat.run, batchchat.arun):
        kernel.shown.clear()
        found = call(prompts("one", call.__name__), **to(simulator(latency=0.8)))
        assert len(await found if call is batchchat.arun else found) == 2
        assert len(kernel.shown) == 1
        assert kernel.updates
        last = kernel.updates[-1]
        assert "2 rows: 2 succeeded" in last["text/plain"]
        assert "answers are kept in" in last["text/html"]
    assert capfd.readouterr() == ("", "")


# The package.


def test_importing_batchchat_is_cheap():
    """`import batchchat` and a look at its names import nothing heavy."""
    heavy = "{'pandas', 'numpy', 'pyarrow', 'aiohttp', 'pydantic', 'jinja2', 'typer', 'rich', 'asyncio', 'sqlite3'}"
    code = f"import sys, batchchat; dir(batchchat); batchchat.UsageError; print({heavy} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_pandas_is_not_imported_for_others(simulator):
    """A Table or a path brings no pandas in."""
    Path("in.csv").write_text("prompt\none\n")
    code = (
        "import sys, pyarrow, pyarrow.csv, batchchat; options = dict(base_url=sys.argv[1], model='m', concurrency=2)\n"
        "table = pyarrow.csv.read_csv('in.csv')\n"
        "print(batchchat.run(table, **options)['error'].null_count)\n"
        "print(batchchat.run(table, rows=[1], **options).num_rows)\n"
        "print(batchchat.run('in.csv', output='o.parquet', **options), 'pandas' in sys.modules)"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(batchchat.__file__).parents[1])}
    command = [sys.executable, "-c", code, simulator().base_url]
    assert subprocess.check_output(command, text=True, env=environ).split() == ["1", "1", "o.parquet", "False"]


def test_every_option_of_the_command_line_is_there():
    """`Options` and the signature name the options of `batchchat run`, less those that only a shell needs."""
    named = {"prompt", "model", "output", "checkpoint"}
    assert {*Options.__annotations__, *named} == {option.name for option in SHARED} - NOT_OF_THE_JOB - {"dry_run"}


def test_the_docstrings_say_what_is_needed():
    """`help(batchchat.run)` says what goes in, what comes out, what is raised, and shows a call."""
    for function in (batchchat.run, batchchat.arun):
        assert all(word in function.__doc__ for word in ("Raises:", "Example:", "UsageError", "JobStopped"))


def test_the_page_works_as_it_stands(simulator, monkeypatch):
    """The blocks of docs/python.md run one after the other, and name only what is there."""
    page = (Path(batchchat.__file__).parents[1] / "docs" / "python.md").read_text(encoding="utf-8")
    monkeypatch.setenv("OPENAI_BASE_URL", simulator(text="echo").base_url)
    monkeypatch.setattr(logging, "basicConfig", lambda level: None)
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)  # a page of the repository
    assert names["labels"].completion[0] == "Positive or negative? Great film."
    assert [found.completion[1] for found in asyncio.run(names["both"]())] == [
        "In one word: I want my money back.",
        "In one French word: I want my money back.",
    ]
    said = {
        name for row in re.findall(r"^\| (`[A-Z].*?) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    errors = {name for name in batchchat.__all__ if name[0].isupper()} - {"BatchchatError", "Estimate", "Range"}
    assert said - {"PathLike"} == errors


def test_the_command_line_says_whose_checkpoint_it_is(simulator):
    """`status` reads a checkpoint of data in memory; what needs the rows says that the call is to be made again."""
    batchchat.run(many(2), **to(simulator()))
    (checkpoint,) = map(str, checkpoints())
    assert job_status(checkpoint).succeeded == 2
    for needs_rows in (resume_job, export_job):
        with pytest.raises(batchchat.UsageError, match=r"data in memory: make the same call of batchchat\.run"):
            needs_rows(checkpoint)

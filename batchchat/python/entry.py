"""`run` and `arun`: a job as a function call.

`run` gives the job a thread with an event loop of its own and waits for it, so it works wherever it is called: in a
script, in a thread, in a notebook whose loop is running. The waiting thread is the one that KeyboardInterrupt reaches,
and the one that draws. `arun` runs on the caller's loop and touches no signal: whoever owns the loop cancels it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Unpack, overload

from batchchat.api import execute, run_job
from batchchat.api.run.signals import Switch
from batchchat.errors import Interrupted, JobStopped
from batchchat.python.call import Call, in_its_words, make_call
from batchchat.python.display import LOOK_SECONDS, Screen, shown

if TYPE_CHECKING:
    from os import PathLike

    import pandas as pd
    import pyarrow as pa

    from batchchat.api import Summary
    from batchchat.python.options import Options, Path


@overload
def run(
    data: str | PathLike[str],
    *,
    prompt: str | None = None,
    model: str | None = None,
    output: Path | None = None,
    checkpoint: Path | None = None,
    progress: bool = True,
    **options: Unpack[Options],
) -> str: ...


@overload
def run(
    data: pd.DataFrame,
    *,
    prompt: str | None = None,
    model: str | None = None,
    output: Path | None = None,
    checkpoint: Path | None = None,
    progress: bool = True,
    **options: Unpack[Options],
) -> pd.DataFrame: ...


@overload
def run(
    data: pa.Table,
    *,
    prompt: str | None = None,
    model: str | None = None,
    output: Path | None = None,
    checkpoint: Path | None = None,
    progress: bool = True,
    **options: Unpack[Options],
) -> pa.Table: ...


def run(
    data: Any,
    *,
    prompt: str | None = None,
    model: str | None = None,
    output: Path | None = None,
    checkpoint: Path | None = None,
    progress: bool = True,
    **options: Unpack[Options],
) -> Any:
    """Send one chat completion per row, and give the table back with result columns.

    Call it again with the same arguments, and it goes on: what was answered is never asked, or paid for, again.

    Args:
        data: a `pandas.DataFrame`, a `pyarrow.Table`, or the path of a table or of a job file.
        prompt: Jinja2 template of the user's message, with the columns as variables: `{{ review }}`, and
            `{{ row['any name'] }}`. None: the column `prompt` is the message.
        model: which to ask; `"local"` is the embedded one. None: `BATCHCHAT_MODEL`, else the only one served.
        output: a path that the table is written to as well (for a path: instead of `INPUT.completions.csv`).
        checkpoint: where answers are kept. None: beside the output of a path; for data in memory
            `.batchchat/FINGERPRINT.batchchat` in the working folder, found again by columns, settings and rows.
        progress: whether to show how far it is: in a notebook, at a terminal, else in the log `batchchat`.
        **options: the options of `batchchat run` by their names with underscores, see `Options`: `system`,
            `temperature`, `max_tokens`, `base_url`, `api_key_env`, `concurrency`, `rpm` (a minute), `max_cost` (US
            dollars), `limit` (rows), `sample` (a trial: that many rows come back), `retry`, `prefix`, ...

    Returns:
        The same kind as `data`: n rows in their order (with `limit` the first so many, of a trial its rows), with
        index, dtypes and metadata as they were, and beside their columns

        - `completion`: text, missing where the row failed; with `n` above 1 a list of texts,
        - `finish_reason`: text as the API gave it,
        - `prompt_tokens`, `completion_tokens`, `total_tokens`: counts, `Int64` in a DataFrame,
        - `error`: text, missing where the row succeeded.

        For a path: the output's path.

    Raises:
        UsageError: an option, a column or the template is wrong; nothing was sent.
        JobStopped: the job ended before its last row: `KeyRefused`, `QuotaExhausted`, `BudgetReached`,
            `EndpointDown`, ... Its `table` is the table so far, its `checkpoint` the path of what was paid for.
        Interrupted: KeyboardInterrupt; requests in flight were waited for, 20 seconds at most (a second one ends it
            at once). It has `table` and `checkpoint` too.

    Example:
        >>> import batchchat, pandas as pd
        >>> reviews = pd.DataFrame({"review": ["Great film.", "I want my money back."]})
        >>> labels = batchchat.run(reviews, prompt="Positive or negative? {{ review }}", model="gpt-4.1-mini")
        >>> labels[labels.error.isna()].completion
    """
    with in_its_words():
        call = make_call(
            data, {"prompt": prompt, "model": model, "output": output, "checkpoint": checkpoint, **options}
        )
        with shown(progress=progress) as screen:
            summary = waited_for(call, screen)
            screen.end(summary)
            return call.result(summary)


@overload
async def arun(
    data: str | PathLike[str],
    *,
    prompt: str | None = None,
    model: str | None = None,
    output: Path | None = None,
    checkpoint: Path | None = None,
    progress: bool = True,
    **options: Unpack[Options],
) -> str: ...


@overload
async def arun(
    data: pd.DataFrame,
    *,
    prompt: str | None = None,
    model: str | None = None,
    output: Path | None = None,
    checkpoint: Path | None = None,
    progress: bool = True,
    **options: Unpack[Options],
) -> pd.DataFrame: ...


@overload
async def arun(
    data: pa.Table,
    *,
    prompt: str | None = None,
    model: str | None = None,
    output: Path | None = None,
    checkpoint: Path | None = None,
    progress: bool = True,
    **options: Unpack[Options],
) -> pa.Table: ...


async def arun(
    data: Any,
    *,
    prompt: str | None = None,
    model: str | None = None,
    output: Path | None = None,
    checkpoint: Path | None = None,
    progress: bool = True,
    **options: Unpack[Options],
) -> Any:
    """`run`, to be awaited on the caller's event loop; it takes, gives and raises the same.

    Signals are the caller's: `asyncio.run` turns Ctrl-C into a cancellation.

    Raises:
        UsageError: as `run`.
        JobStopped: as `run`.
        asyncio.CancelledError: the task was cancelled. Requests in flight were waited for, 20 seconds at most (a
            second cancellation ends it at once), and kept; the same call goes on.

    Example:
        >>> labels = await batchchat.arun(reviews, prompt="Positive or negative? {{ review }}", model="gpt-4.1-mini")
    """
    with in_its_words():
        call = make_call(
            data, {"prompt": prompt, "model": model, "output": output, "checkpoint": checkpoint, **options}
        )
        with shown(progress=progress) as screen:
            drawing = asyncio.create_task(_drawn(screen))
            try:
                summary = await run_job(call.job, observer=screen, data=call.data, switch=Switch())
            except JobStopped as stopped:
                screen.end(None)
                await asyncio.to_thread(call.complete, stopped)
                raise
            except BaseException:
                screen.end(None)
                raise
            finally:
                drawing.cancel()
            screen.end(summary)
            return await asyncio.to_thread(call.result, summary)


async def _drawn(screen: Screen) -> None:
    while True:
        screen.draw()
        await asyncio.sleep(LOOK_SECONDS)


def waited_for(call: Call, screen: Screen) -> Summary:
    """Run the job in a thread, and wait for it; an interrupt of this thread stops it in order."""
    switch = Switch()
    done: Future[Summary] = Future()
    context = contextvars.copy_context()

    def work() -> None:
        try:
            done.set_result(context.run(execute, call.job, observer=screen, data=call.data, switch=switch))
        except BaseException as error:
            done.set_exception(error)

    worker = threading.Thread(target=work, name="batchchat")
    worker.start()
    try:
        while not done.done():
            # Short waits: on Windows a lock cannot be interrupted, and a notebook is drawn by this thread alone.
            with contextlib.suppress(TimeoutError):
                _wait(done, screen, switch)
        return done.result()
    except JobStopped as stopped:  # before it began: its checkpoint could not be opened, or somebody interrupted
        screen.end(None)
        call.complete(stopped)
        raise
    except BaseException:
        screen.end(None)
        raise
    finally:
        switch.press(Interrupted("the caller has left"))  # where an interrupt came between two lines of ours
        worker.join()


def _wait(done: Future[Summary], screen: Screen, switch: Switch) -> None:
    try:
        screen.draw()
        done.exception(LOOK_SECONDS)
    except KeyboardInterrupt:
        switch.press(Interrupted("interrupted"))

"""What a type checker makes of the public names. `make check` checks this file; nothing ever runs it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import assert_type

import pandas as pd

import batchchat


def of_a_path(path: Path) -> None:
    """A path in, text out."""
    assert_type(batchchat.run("reviews.csv"), str)
    assert_type(batchchat.run(path, output=path, model="m", max_cost=Decimal("1.5")), str)


def of_a_frame(frame: pd.DataFrame) -> None:
    """A DataFrame in, a DataFrame out, with every kind of option."""
    found = batchchat.run(
        frame,
        prompt="{{ review }}",
        model="local",
        checkpoint=Path("mine.batchchat"),
        progress=False,
        system="Be brief.",
        temperature=0,
        stop=["\n"],
        response_format={"type": "json_object"},
        extra_body={"top_k": 3},
        header={"X-Team": "${TEAM}"},
        rpm=500,
        price={"input": 0.1, "output": 0.4},
        retry=("failed", "length"),
        rows=[1, 2],
        keep_answered=True,
        limit=None,
    )
    assert_type(found, pd.DataFrame)


async def of_an_awaitable(frame: pd.DataFrame) -> None:
    """The same of `arun`."""
    assert_type(await batchchat.arun("reviews.csv", sample=3), str)
    assert_type(await batchchat.arun(frame, prompt="{{ review }}"), pd.DataFrame)


def of_an_estimate(frame: pd.DataFrame) -> None:
    """An estimate of anything, with the options of `run`."""
    found = batchchat.estimate(frame, prompt="{{ review }}", model="m", max_tokens=5, sample=50)
    assert_type(found, batchchat.Estimate)
    assert_type(found.cost_usd, batchchat.Range[Decimal])
    assert_type(found.prompt_tokens.expected, int | None)
    batchchat.estimate("reviews.csv", output="labels.parquet")
    batchchat.estimate(frame, temprature=1)  # type: ignore[call-arg] # a misspelt option


def of_what_is_raised(stopped: batchchat.JobStopped, interrupted: batchchat.Interrupted) -> None:
    """What a stopped job says."""
    assert_type(stopped.checkpoint, str | None)
    assert_type(stopped.stop_reason, str)
    assert_type(interrupted.signal_number, int)
    as_keyboard: KeyboardInterrupt = interrupted
    assert_type(as_keyboard, KeyboardInterrupt)


def of_what_is_wrong(frame: pd.DataFrame) -> None:
    """What the checker is to find: each line is an error that must be one (unused ignores are errors too)."""
    batchchat.run(frame, temprature=1)  # type: ignore[call-overload] # a misspelt option
    batchchat.run(frame, concurrency="8")  # type: ignore[call-overload] # a text for a number
    batchchat.run(frame, "{{ review }}")  # type: ignore[call-overload] # a prompt without its name

"""A chat completion for every row of a table: fast, cheap, and safe to leave alone overnight.

    import batchchat
    labels = batchchat.run(reviews, prompt="Positive or negative? {{ review }}", model="gpt-4.1-mini")

`run` takes a pandas DataFrame, a pyarrow Table or a path; `arun` is its awaitable, and `estimate` says what it would
take. They are loaded when they are first used: `import batchchat` alone imports nothing heavy.
"""

from __future__ import annotations

import importlib as _importlib
import typing as _typing

from batchchat.errors import (
    BatchchatError,
    BudgetReached,
    CheckpointBusy,
    CheckpointDamaged,
    EndpointDown,
    Hopeless,
    InputFault,
    Interrupted,
    JobStopped,
    KeyRefused,
    ModelMissing,
    QuotaExhausted,
    StorageFull,
    UsageError,
    WaitTooLong,
)

if _typing.TYPE_CHECKING:
    from batchchat.python import Estimate, Range, arun, estimate, run

__all__ = [
    "BatchchatError",
    "BudgetReached",
    "CheckpointBusy",
    "CheckpointDamaged",
    "EndpointDown",
    "Estimate",
    "Hopeless",
    "InputFault",
    "Interrupted",
    "JobStopped",
    "KeyRefused",
    "ModelMissing",
    "QuotaExhausted",
    "Range",
    "StorageFull",
    "UsageError",
    "WaitTooLong",
    "arun",
    "estimate",
    "run",
]
_LATER = dict.fromkeys(("Estimate", "Range", "arun", "estimate", "run"), "batchchat.python")


def __getattr__(name: str) -> _typing.Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_importlib.import_module(_LATER[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

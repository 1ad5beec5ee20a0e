"""Which model is meant: the only one that an endpoint serves, or the nearest to one that it does not have."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from batchchat.errors import ModelMissing, UsageError
from batchchat.spelling import did_you_mean, nearest

if TYPE_CHECKING:
    from batchchat.job import Job
    from batchchat.transport import Transport


async def only_model(transport: Transport, job: Job) -> str:
    """The one model that the endpoint serves.

    Raises:
        UsageError: it serves several, or does not say.
    """
    url = job.endpoint.base_url
    try:
        models = await transport.models()
    except Exception as error:  # whatever it is, the person has to name a model
        raise UsageError(
            f"no model was named, and {url} does not say which it has ({error}); name one with -m"
        ) from error
    if len(models) == 1:
        return models[0]
    some = ", ".join(models[:8]) + (", ..." if len(models) > 8 else "")
    raise UsageError(f"no model was named, and {url} has {len(models)}: {some or 'none'}; name one with -m")


async def model_meant(transport: Transport, job: Job, model: str, reason: ModelMissing) -> ModelMissing:
    """The reason with the model that may be meant: one of the person's aliases, or of the endpoint's own."""
    known = [*job.aliases]
    with contextlib.suppress(Exception):  # it is only a hint
        known += await transport.models()
    meant = nearest(model, known)
    if meant is None or meant == model:
        return reason
    told = ModelMissing(f"{reason}{did_you_mean(meant)}")
    told.wrong, told.meant = model, meant
    return told

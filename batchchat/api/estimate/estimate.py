"""What a job will take, before it is run: rows, tokens, dollars and time as ranges.

The requests that a run would send are made and counted, and sent nowhere. With `--sample` some rows are run first, as a
trial is: their answers are in the checkpoint, are never paid for again, and tell how long answers are. Answers that the
checkpoint holds from before tell it too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

from batchchat import defaults
from batchchat.api.estimate.counting import Counting
from batchchat.api.estimate.estimated import Compared, Estimated, Learned
from batchchat.api.estimate.observed import observed_rows
from batchchat.api.input.memory import find_place
from batchchat.api.input.rows import trial_rows
from batchchat.api.input.table import open_table
from batchchat.api.kept.pending import Pending
from batchchat.api.money.price import find_price, longest_answer, total_cost
from batchchat.api.run.execution import execute
from batchchat.api.run.plan import plan_host
from batchchat.checkpoint import read_journal
from batchchat.cost.estimate import Plan, compare, estimate
from batchchat.cost.interval import Range
from batchchat.cost.tokens import counter
from batchchat.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from batchchat.api.estimate.counting import Counted
    from batchchat.api.input.table import Table
    from batchchat.api.run.summary import Summary
    from batchchat.cost.estimate import Estimate, Observed
    from batchchat.cost.prices import Price
    from batchchat.cost.tokens import TokenCounter
    from batchchat.events import Observer
    from batchchat.job import Job

_FOUND = {"rpm": "requests a minute", "tpm": "tokens a minute", "concurrency": "requests at once"}
Progress: TypeAlias = "Callable[[int, int | None], None]"
"""Is told how many rows were looked at, of how many (None: not known)."""


def send_sample(job: Job, *, observer: Observer) -> Summary | None:
    """Run the trial that `--sample` asks for, None where it asks for none.

    Raises:
        UsageError, JobStopped: as `run_job`.
    """
    if job.rows.sample is None or job.policy.dry_run:
        return None
    return execute(job, observer=observer)


def estimate_job(job: Job, *, sample: Summary | None, progress: Progress, data: Any = None) -> Estimated:
    """What a run of the job would take. Nothing is sent.

    Args:
        job: what is meant.
        sample: what `send_sample` gave, or a trial of the same job.
        progress: is told how far the counting is.
        data: a DataFrame or a Table that is the job's table; None where the job names an input.

    Raises:
        UsageError: what a run would refuse, or no model was named.
    """
    scene = _Scene.of(job, sample, data=data)
    job = replace(job, checkpoint=scene.job.checkpoint)
    price = find_price(scene.job, scene.model)
    tokens = scene.counter()
    counted = scene.counting({tokens.name: tokens}, progress).all(scene.rows)
    counted.changed &= not scene.found
    observed = scene.observed(tokens)
    tally = counted.tallies[tokens.name]
    limits = _found_limits(job, counted)
    plan = _plan(job, observed, counted, limits)
    found = estimate(tally, counter=tokens, price=price, plan=plan, observed=observed)
    return Estimated(
        input=job.input,
        checkpoint=job.checkpoint_path,
        model=scene.model,
        host=plan_host(scene.job),
        rows=counted.rows,
        answered=counted.answered,
        to_send=counted.to_send,
        unsendable=counted.unsendable,
        paid_usd=_paid(job, counted, price),
        tokenizer=tokens.name,
        estimate=found,
        learned=_learned(observed, price, sample),
        notes=(*found.notes, *_notes(job, counted, found, limits, observed)),
        status=0 if sample is None else sample.status,
        message=None if sample is None else sample.message,
    )


def compare_models(job: Job, models: Sequence[str], *, sample: Summary | None, progress: Progress) -> Compared:
    """The rows of the job with each of the models, whatever was answered already.

    Lengths of answers are those that the job's own model gave (in the sample, or before); without them nothing is known
    of them. No model is asked for anything.

    Raises:
        UsageError: as `estimate_job`.
    """
    if not models:
        raise UsageError("--compare: name models, as --compare gpt-4o-mini,gpt-4.1-nano")
    scene = _Scene.of(replace(job, model=job.model or models[0]), sample)
    counters = {model: scene.counter(model) for model in models}
    by_name = {one.name: one for one in counters.values()}
    counted = scene.counting(by_name, progress, ignore=True).all(scene.rows)
    observed = scene.observed(scene.counter())
    found = compare(
        models,
        prompts=counted.tallies,
        counters=counters,
        plan=_plan(job, observed, counted, _found_limits(job, counted)),
        base_url=None if job.endpoint.base_url_source == "default" else job.endpoint.base_url,
        observed={scene.model: observed} if observed else {},
        told={} if job.money.price is None else {scene.model: job.money.price},
        named={} if job.money.price_as is None else {scene.model: job.money.price_as},
    )
    return Compared(
        input=job.input,
        rows=counted.to_send,
        unsendable=counted.unsendable,
        models=tuple(found),
        notes=tuple(note for note in found[0].estimate.notes if all(note in one.estimate.notes for one in found)),
        status=0 if sample is None else sample.status,
        message=None if sample is None else sample.message,
    )


def expected_cost(job: Job, *, to_send: int, seconds: float = 1.0) -> Range[Decimal] | None:
    """What so many rows to send will cost, quickly, for the header of a run; None where the price is not known.

    Its `expected` is None where nothing is known of the lengths of answers and nothing bounds them; `low` is then what
    the prompts alone cost. It looks at as many of the first rows to send as the seconds allow.
    """
    price = None if job.model is None else find_price(job, job.model)
    if price is None or price.free:
        return None if price is None else Range(low=Decimal(0), expected=Decimal(0), high=Decimal(0))
    scene = _Scene.of(job, None, check=False)
    tokens = scene.counter()
    counted = scene.counting({tokens.name: tokens}, lambda _seen, _of: None).first(seconds, scene.rows)
    tally = counted.tallies[tokens.name]
    tally.stand_for(to_send)
    observed = scene.observed(tokens)
    plan = _plan(job, observed, counted, {})
    return estimate(tally, counter=tokens, price=price, plan=plan, observed=observed).cost_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """The job as it would be run, its table, and its model.

    Attributes:
        numbers: the rows that `--rows` names, None: all. sampled: those that the sample drew, None where none was sent.
        found: whether the checkpoint was found by the data, which may then stand there beside others.
    """

    job: Job
    table: Table
    model: str
    numbers: Sequence[int] | None
    sampled: Sequence[int] | None
    found: bool

    @classmethod
    def of(cls, job: Job, sample: Summary | None, *, check: bool = True, data: Any = None) -> _Scene:
        """What a run would work on. The rows of a sample are drawn again: they are the same ones.

        Raises:
            UsageError: what a run would refuse, or no model was named.
        """
        whole = replace(job, rows=replace(job.rows, sample=None, seed_rows=None))
        table = open_table(whole, data=data, check=check)
        model = job.model or (None if sample is None else _model_asked(sample.checkpoint))
        if model is None:
            raise UsageError(
                "no model was named; name one with -m (run would ask the endpoint which it has, estimate sends nothing)"
            )
        numbers = trial_rows(whole, table.dataset) if whole.rows.trial else None
        sampled = None if sample is None else trial_rows(job, table.dataset, table.selection)
        found = data is not None and not job.checkpoint
        if found:
            place = find_place(whole, table, model) if sample is None else sample.checkpoint
            whole = replace(whole, checkpoint=place)
        return cls(job=whole, table=table, model=model, numbers=numbers, sampled=sampled, found=found)

    @property
    def rows(self) -> int | None:
        """How many rows are meant, None where only reading the table tells."""
        return self.table.dataset.count() if self.numbers is None else len(self.numbers)

    def counter(self, model: str | None = None) -> TokenCounter:
        """Counts the tokens of a model, the job's own where none is named; `--price-as` says which model that is."""
        own = model is None or model == self.model
        found = counter(self.job.money.price_as or self.model if own else str(model))
        return found if self.job.prompt.image_column is None else found.with_images()

    def counting(self, counters: Mapping[str, TokenCounter], progress: Progress, *, ignore: bool = False) -> Counting:
        """Counts the rows that would be sent (with `ignore`: all rows)."""

        def pending() -> Pending:
            return Pending(self.job, self.table.dataset, model=self.model, rows=self.numbers, ignore=ignore)

        return Counting(self.table.dataset, pending, counters, progress=progress)

    def observed(self, tokens: TokenCounter) -> list[Observed]:
        """What was answered with these settings: the sample, else a random part of all so far."""
        with Pending(self.job, self.table.dataset, model=self.model, ignore=True) as pending:
            if pending.journal is None or pending.settings is None:
                return []
            return observed_rows(
                pending.journal,
                pending.settings,
                self.table.dataset,
                builder=pending.builder,
                tokens=tokens,
                rows=self.sampled,
            )


def _model_asked(checkpoint: str) -> str | None:
    """The model that a run found at the endpoint."""
    journal = read_journal(checkpoint)
    try:
        model: str | None = journal.header("job").get("request", {}).get("model")
    finally:
        journal.close()
    return model


def _plan(job: Job, observed: Sequence[Observed], counted: Counted, found: Mapping[str, float]) -> Plan:
    """What is asked and allowed; what was not told is what an earlier run found."""
    request, pool = job.request, job.pool
    limit = counted.completion_limit if counted.bounded + counted.unbounded else longest_answer(job)
    return Plan(
        completion_limit=limit,
        choices=int(request.get("n") or 1),
        rpm=_lower(pool.rpm, found.get("rpm")),
        tpm=_lower(pool.tpm, found.get("tpm")),
        rpd=pool.rpd,
        tpd=pool.tpd,
        concurrency=pool.concurrency
        or int(found.get("concurrency", 0))
        or (defaults.CONCURRENCY if observed else None),
    )


def _lower(told: float | None, found: float | None) -> float | None:
    return min((each for each in (told, found) if each), default=None)


def _found_limits(job: Job, counted: Counted) -> dict[str, float]:
    """The limits that the last run which met any found at this endpoint, by headers, refusals and latencies."""
    if not counted.chain:
        return {}
    journal = read_journal(job.checkpoint_path)
    try:
        runs = [run["limits"] for run in journal.runs() if run.get("limits")]
    finally:
        journal.close()
    last: dict[str, Any] = next((each for each in reversed(runs) if each.get("host") == plan_host(job)), {})
    return {name: value for name, value in last.items() if name != "host"}


def _paid(job: Job, counted: Counted, price: Price | None) -> Decimal | None:
    """What the rows that are answered have cost."""
    if not counted.chain:
        return None
    journal = read_journal(job.checkpoint_path)
    try:
        return total_cost(journal, counted.chain, counted.rows, price)
    finally:
        journal.close()


def _learned(observed: Sequence[Observed], price: Price | None, sample: Summary | None) -> Learned:
    costs = [] if price is None else [price.cost(one.usage) for one in observed]
    known = [cost for cost in costs if cost is not None]
    return Learned(
        rows=len(observed),
        prompt_tokens=sum(one.usage.prompt_tokens or 0 for one in observed),
        completion_tokens=sum(one.usage.completion_tokens or 0 for one in observed),
        cost_usd=sum(known, Decimal(0)) if known else None,
        requests=0 if sample is None else sample.requests,
        failed=0 if sample is None else sum(answer["error"] is not None for answer in sample.answers),
    )


def _notes(
    job: Job, counted: Counted, found: Estimate, limits: Mapping[str, float], observed: Sequence[Observed]
) -> Iterator[str]:
    if counted.changed and not job.rows.trial:
        yield (
            "the checkpoint holds answers to other settings: a run needs --restart (all rows are sent), another output "
            "with -o, or --keep-answered (only rows without an answer are sent)"
        )
    by = found.bound_by or ""
    if by in limits and not getattr(job.pool, by):
        yield f"the time is that of {limits[by]:,.0f} {_FOUND[by]}, as the last run found"
    elif observed and job.pool.concurrency is None and by == "concurrency":
        yield f"the time is that of {defaults.CONCURRENCY} requests at once, where a run without -c begins"
    budget, cost = job.money.max_cost, found.cost_usd
    if budget is None or cost.low is None:
        return
    if cost.high is not None and cost.high <= budget:
        yield f"--max-cost {budget} is enough"
    elif cost.low > budget:
        yield f"--max-cost {budget} is not enough: the run will stop there, and go on with a higher one"
    else:
        yield f"--max-cost {budget} may not be enough: the run would stop there, and go on with a higher one"

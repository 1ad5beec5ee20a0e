"""The simulator's mind: for each request, what becomes of it, when, and who is told.

What comes in: valid requests from the routes. What goes out: answers, faults and refusals, and the counts of them. A
request passes, in this order: the script, the rate limits, the marks in its prompt, the faults by share, the context
window, the queue for a slot, the latency. What is refused on the way is refused at once.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from batchchat.errors import UsageError
from batchchat.serve import routes
from batchchat.serve.refusal import Refusal
from batchchat.serve.reply import encode
from batchchat.serve.sim import rules
from batchchat.serve.sim.ask import Ask
from batchchat.serve.sim.delivery import FATES, Delivery
from batchchat.serve.sim.job import Job
from batchchat.serve.sim.limits import Limits, window
from batchchat.serve.sim.script import Step, steps
from batchchat.serve.sim.settings import Settings
from batchchat.serve.sim.tally import Tally
from batchchat.serve.sim.words import answer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from batchchat.serve.http import Exchange, Listener
    from batchchat.serve.sim.limits import Verdict


class Simulation:
    """A backend of the routes."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self.routes = routes.Routes(self, routes.Door())
        self.listener: Listener | None = None
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: deque[Job] = deque()
        self._busy = 0
        self.reset(settings)

    # what it is told

    def reset(self, settings: Settings) -> None:
        """Zeroes the counts, empties the script, and takes these settings."""
        self.settings = settings
        self.tally = Tally(prompts=settings.prompts, record=settings.record)
        self.script: deque[Step] = deque()
        make = _windows(settings)
        self._limits = Limits(
            make(settings.rpm),
            make(settings.tpm),
            headers=settings.headers,
            minute=(settings.rpm, settings.tpm),
            count_refused=settings.count_refused,
        )
        self._limited = bool(settings.rpm or settings.tpm)
        self.routes.door = routes.Door(
            models=settings.models,
            want_key=settings.want_key,
            key=settings.key or None,
            strict=settings.strict,
        )
        if self.listener is not None:
            self.attach(self.listener)
        self._serve_waiting()

    def attach(self, listener: Listener) -> None:
        """Takes the listener, whose connections live as the settings say."""
        listener.keep_alive = self.settings.keep_alive
        listener.replies_per_connection = self.settings.replies_per_connection
        listener.accepted_before = listener.accepted
        self.listener = listener

    def stats(self, *, prompts: bool = False) -> dict[str, Any]:
        """All counts since the last reset."""
        shown = self.tally.object(prompts=prompts)
        if self.listener is not None:
            shown["connections"] = self.listener.accepted - self.listener.accepted_before
            shown["open_connections"] = len(self.listener.open)
        shown["script_left"] = len(self.script)
        shown["waiting"] = len(self._waiting)
        shown["settings"] = self.settings.public()
        return shown

    # the routes' side

    def visit(self, exchange: Exchange) -> Job:
        """See `routes.Backend`."""
        return Job(exchange, self.tally, self._complete, self._cost)

    def page(self, exchange: Exchange) -> bool:
        """See `routes.Backend`."""
        request = exchange.request
        if not request.path.startswith("/sim/"):
            return False
        try:
            shown = self._page(request.method, request.path, request.parameters, request.body)
        except (UsageError, ValueError) as error:
            exchange.send(400, Refusal(400, str(error)).body())
        except KeyError:
            return False
        else:
            exchange.send(200, encode(shown))
        return True

    def _page(self, method: str, path: str, parameters: Mapping[str, str], body: bytes) -> Any:
        match method, path:
            case "GET", "/sim/stats":
                return self.stats(prompts=parameters.get("prompts", "") not in {"", "0"})
            case "GET", "/sim/requests":
                return self.tally.records()
            case "POST", "/sim/reset":
                given = json.loads(body) if body.strip() else {}
                if not isinstance(given, dict):
                    raise UsageError("settings are a JSON object")
                self.reset(self.changed(given))
                return self.stats()
            case "POST", "/sim/script":
                self.script.extend(steps(json.loads(body)))
                return {"script_left": len(self.script)}
        raise KeyError(path)

    def changed(self, given: Mapping[str, Any]) -> Settings:
        """These settings over those of now.

        Raises:
            UsageError: there is no such setting, or it cannot have this value.
        """
        return Settings.of({**self.settings.public(), "key": self.settings.key, **given})

    # on the way

    def _complete(self, job: Job, asked: dict[str, Any]) -> None:
        settings = self.settings
        job.ask = ask = Ask.of(asked, settings.seed)
        attempt = job.tally.asked(ask.prompt)
        if self.script:
            self._play(job, self.script.popleft())
            return
        if self._limited:
            verdict = self._admit(job)
            job.headers = verdict.headers
            if verdict.wait:
                self._refuse(job, self._too_many(verdict))
                return
        job.rule = ask.marks.rule(attempt) if ask.marks else None
        if job.rule is None and settings.faults:
            job.rule = rules.drawn(settings.faults, ask.draw("fault", attempt))
        refusal = self._refusal(job)
        if refusal is not None:
            self._refuse(job, refusal)
        else:
            self._queue(job)

    def _admit(self, job: Job) -> Verdict:
        now, tokens = self._loop.time(), 0.0
        assert job.ask is not None
        if self.settings.tpm:
            bound = job.ask.most_tokens if self.settings.tpm_counts == "asked" else None
            if bound is None:
                job.reply = answer(job.ask, self.settings)
                assert job.reply.usage is not None
                bound = job.reply.usage["completion_tokens"]
            tokens = float(job.ask.prompt_tokens + bound)
        verdict = self._limits.admit(now, tokens)
        if not verdict.wait:
            job.tally.admit(now, tokens)
        return verdict

    def _too_many(self, verdict: Verdict) -> Refusal:
        unit = "RPM" if verdict.kind == "requests" else "TPM"
        limit = int(self._limits.limit(verdict.kind))
        where = f"on {verdict.kind} per min ({unit}): Limit {limit}"
        if verdict.never:
            return Refusal(
                429,
                f"Request too large for sim {where}. The input or output tokens must be reduced in order to run.",
                type=verdict.kind,
                code="rate_limit_exceeded",
            )
        return Refusal(
            429,
            f"Rate limit reached for sim {where}. Please try again in {verdict.wait:.3f}s.",
            type=verdict.kind,
            code="rate_limit_exceeded",
            headers=self._retry_after(verdict.wait),
        )

    def _refusal(self, job: Job) -> Refusal | None:
        """The error that its rule stands for, or that its length earns."""
        ask = job.ask
        assert ask is not None
        if job.rule is not None:
            wait = ask.marks.values.get("retry-after") if ask.marks else None
            headers = self._retry_after(1.0 if wait is None else wait)
            return rules.refusal(job.rule, retry_after=headers)
        if self.settings.context and ask.prompt_tokens > self.settings.context:
            return Refusal(
                400,
                f"This model's maximum context length is {self.settings.context} tokens. However, your messages "
                f"resulted in {ask.prompt_tokens} tokens. Please reduce the length of the messages.",
                param="messages",
                code="context_length_exceeded",
            )
        return None

    def _retry_after(self, wait: float) -> str:
        match self.settings.retry_after:
            case "seconds":
                return f"retry-after: {math.ceil(wait)}\r\n"
            case "ms":
                return f"retry-after-ms: {math.ceil(wait * 1000)}\r\nretry-after: {math.ceil(wait)}\r\n"
            case "date":
                return f"retry-after: {formatdate(math.ceil(time.time() + wait), usegmt=True)}\r\n"
        return ""

    def _refuse(self, job: Job, refusal: Refusal) -> None:
        job.refused(refusal)
        job.exchange.send(refusal.status, refusal.body(), headers=job.headers + refusal.headers)

    def _play(self, job: Job, step: Step) -> None:
        job.rule, job.step = step.rule, step
        refusal = rules.refusal(step.rule, retry_after=self._retry_after(1.0)) if step.rule else None
        if refusal is None and step.status >= 400 and step.body is None:
            refusal = Refusal(step.status, "The script says so", code=rules.CODES.get(step.status))
        job.headers = step.lines
        if refusal is not None:
            self._after(step.delay, self._refuse, job, refusal)
        else:
            self._after(step.delay, self._deliver, job)

    # slots and latency

    def _queue(self, job: Job) -> None:
        settings = self.settings
        if not settings.slots:
            self._start(job)
        elif self._busy < settings.slots:
            self._occupy(job)
        elif settings.queue >= 0 and len(self._waiting) >= settings.queue:
            self._refuse(job, Refusal(429, "Too many concurrent requests", code="concurrency_limit_exceeded"))
        else:
            self._waiting.append(job)

    def _occupy(self, job: Job) -> None:
        self._busy += 1
        job.release = self._vacate
        self._start(job)

    def _vacate(self) -> None:
        self._busy -= 1
        # Not from within: a job without latency would answer the next one inside its own end, and so on for ever.
        self._loop.call_soon(self._serve_waiting)

    def _serve_waiting(self) -> None:
        while self._waiting and (not self.settings.slots or self._busy < self.settings.slots):
            job = self._waiting.popleft()
            if not job.exchange.over:
                self._occupy(job)

    def _start(self, job: Job) -> None:
        ask, settings = job.ask, self.settings
        assert ask is not None
        marked = ask.marks.values.get("latency") if ask.marks else None
        wait = ask.spread("latency", settings.latency, settings.latency_sigma) if marked is None else marked
        self._after(wait, self._deliver, job)

    def _after(self, wait: float, then: Callable[..., None], *arguments: Any) -> None:
        if wait > 0:
            self._loop.call_later(wait, then, *arguments)
        else:
            then(*arguments)

    # the answer

    def _deliver(self, job: Job) -> None:
        exchange, ask, rule, step = job.exchange, job.ask, job.rule, job.step
        if exchange.over or ask is None:
            return
        job.fate = FATES.get(rule or "", "answered")
        if rule == "html":
            job.status = 502
        if rule == "drop":
            exchange.abort()
            return
        if rule == "stall":
            self._stall(job)
            return
        headers = job.headers + f"x-request-id: req_{ask.digest.hex()[:16]}{job.tally.received:x}\r\n"
        delivery = Delivery(exchange, self.settings, headers=headers, rule=rule)
        if step is not None and (step.body is not None or step.status != 200):
            if step.status != 200:
                job.fate, job.status = "refused", step.status
            delivery.raw(step.body or b"", status=step.status, kind=step.kind)
            return
        if job.reply is None or rule is not None:
            job.reply = answer(ask, self.settings, rule)
        if not ask.body.get("stream"):
            delivery.body(job.reply)
            return
        options = ask.body.get("stream_options") or {}
        self._in_background(
            delivery.stream(
                job.reply,
                include_usage=bool(options.get("include_usage")),
                opening=exchange.request.path.startswith(routes.DEPLOYMENTS),
            )
        )

    def _stall(self, job: Job) -> None:
        if self.settings.stall:
            job.fate = "dropped"
            self._loop.call_later(self.settings.stall, job.exchange.abort)

    def _cost(self, job: Job) -> tuple[int, int]:
        """Prompt and completion tokens of its answer, also where it was not made, or does not say."""
        assert job.ask is not None
        usage = job.reply.usage if job.reply is not None else None
        if usage is None:
            usage = answer(job.ask, self.settings, None if job.rule == "no-usage" else job.rule).usage
        assert usage is not None
        return usage["prompt_tokens"], usage["completion_tokens"]

    def _in_background(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _windows(settings: Settings) -> Callable[[float], Any]:
    def make(limit: float) -> Any:
        return window(
            settings.window,
            limit,
            period=settings.window_seconds,
            burst_seconds=settings.burst_seconds,
            others=settings.others,
        )

    return make

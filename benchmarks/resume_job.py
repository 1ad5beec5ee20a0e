"""The job of `resume.py`: its table, its checkpoint as a run leaves it, and what its processes take."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rounds import Cost, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

PROMPT = "Positive or negative? {{ text }}"
MODEL = "sim"
WORDS = "the plot was thin but its actors made a rainy evening pass as quickly as any other film could have"
ANSWER = "Positive: the reply goes on for a while, as replies do."
LONGEST = 900  # seconds that any process may take


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A table, its output and its checkpoint."""

    table: Path

    @property
    def output(self) -> Path:
        return self.table.with_name(f"labels{self.table.suffix}")

    @property
    def checkpoint(self) -> Path:
        return Path(f"{self.output}.batchchat")

    def command(self, base_url: str, *more: str) -> list[str]:
        words = [str(self.table), "-o", str(self.output), "-m", MODEL, "--prompt", PROMPT, "--base-url", base_url]
        return [*batchchat("run"), *words, "-c", "16", "--json", *more]


def batchchat(*words: str) -> list[str]:
    return [sys.executable, "-m", "batchchat", *words]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def simulator(*options: str) -> Iterator[str]:
    """The base URL of a simulator of its own."""
    command = [sys.executable, "-m", "batchchat.serve", "--model", "sim", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


class Doorbell(socketserver.ThreadingTCPServer):
    """Notes when the first POST comes, and never answers: nothing is settled by it."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Caller)
        self.rung = threading.Event()
        self.closing = threading.Event()
        self.at = 0.0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Caller(socketserver.StreamRequestHandler):
    server: Doorbell

    def handle(self) -> None:
        if self.rfile.readline().startswith(b"POST") and not self.server.rung.is_set():
            self.server.at = time.perf_counter()
            self.server.rung.set()
        self.server.closing.wait(LONGEST)


def until_first_post(job: Job) -> Cost:
    """What a run takes until its first request is sent; it is interrupted then."""
    with Doorbell() as bell, tempfile.TemporaryFile() as said:
        threading.Thread(target=bell.serve_forever, daemon=True).start()
        began = time.perf_counter()
        process = subprocess.Popen(job.command(bell.base_url), env=environment(), stdout=said, stderr=said)
        if not bell.rung.wait(LONGEST):
            sys.exit("no request was sent")
        cpu = _cpu_of(process.pid)
        ended = threading.Timer(0.2, process.send_signal, [signal.SIGINT])
        process.send_signal(signal.SIGINT)
        ended.start()  # the second signal gives up the requests in flight
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 130:
            said.seek(0)
            sys.exit(f"exit {process.returncode}: {said.read().decode()}")
        bell.closing.set()
        bell.shutdown()
    return Cost(wall=bell.at - began, cpu=cpu, peak=usage.ru_maxrss / 1024)


def _cpu_of(pid: int) -> float:
    """User and system time of a process so far, where the system tells (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write_table(path: Path, rows: int) -> None:
    """Reviews of about 100 characters, with a name and a rating."""
    words = WORDS.split()
    texts = [f"Review {n}: {' '.join(words[n % 7 :])}" for n in range(rows)]
    ratings = [f"{n % 50 / 10:.1f}" for n in range(rows)]
    names = [f"r-{n:07d}" for n in range(rows)]
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "text", "rating"])
            writer.writerows(zip(names, texts, ratings, strict=True))
        return
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"id": names, "text": texts, "rating": ratings}), path)


def write_job(job: Job, rows: int, pending: int) -> None:
    """A table, and the checkpoint of a run over it that is not finished."""
    write_table(job.table, rows)
    write_checkpoint(job, rows, pending)


def write_checkpoint(job: Job, rows: int, pending: int) -> None:
    """What a run has written that was stopped so many rows before its end."""
    from batchchat.api.input.table import make_builder
    from batchchat.api.kept.session import remember
    from batchchat.checkpoint import Mark, open_journal
    from batchchat.dataset import open_dataset
    from batchchat.job import resolve
    from batchchat.records import Completion, Outcome, Usage

    said = {"base_url": "http://127.0.0.1:1/v1", "model": MODEL, "prompt": PROMPT, "output": str(job.output)}
    meant = resolve(said, input=str(job.table), environ={})
    dataset = open_dataset(meant.input)
    builder = make_builder(meant, dataset, MODEL)
    done = Completion(
        contents=(ANSWER,),
        finish_reasons=("stop",),
        usage=Usage(prompt_tokens=31, completion_tokens=12, total_tokens=43),
        model=MODEL,
        request_id="chatcmpl-0123456789abcdef",
        latency=0.5,
    )
    with contextlib.closing(open_journal(job.checkpoint)) as journal:
        settings = journal.settings_id({**meant.settings(), "model": MODEL})
        remember(journal, meant, MODEL)
        journal.set_header(begun=settings, failures_stand=False)
        journal.end_run(journal.start_run(settings, {"rows": rows}), {"stop_reason": "interrupt"})
        for batch in dataset.batches(builder.columns):
            mark = Mark(size=batch.size, digest=builder.digest(batch), complete=False)
            journal.note_mark(settings, batch.start, mark)
            tasks = [task for task in builder.tasks(batch) if task.row <= rows - pending]
            now = time.time()
            journal.commit(settings, [Outcome(row=t.row, key=t.key, completion=done, at=now) for t in tasks])

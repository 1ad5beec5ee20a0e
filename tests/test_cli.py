"""The command line: what it says, where it says it, and the status it leaves with."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from batchchat.cli import app, failure, stream
from batchchat.cli.options import NOT_OF_THE_JOB, RESUMED, SHARED
from batchchat.cli.page import PAGES, sentence
from batchchat.cli.show import curl_command
from batchchat.errors import CheckpointBusy, Interrupted, UsageError
from batchchat.job.options import OPTIONS

PROJECT = Path(__file__).resolve().parents[1]
HEAVY = ("pandas", "pyarrow", "aiohttp", "pydantic", "jinja2", "rich", "tiktoken", "genai_prices", "asyncio")


pytestmark = pytest.mark.usefixtures("plain_surroundings")


@pytest.fixture
def run(capsys):
    """Runs a command line in this process: status, stdout, stderr."""

    def run(*words):
        status = app.entry(words)
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def python(*words, code=None, **options):
    command = [sys.executable, *(["-c", code] if code else ["-m", "batchchat", *words])]
    environ = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=30, check=False, **options)


# Help


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["-h"], []])
def test_help_imports_nothing_heavy(words):
    """--help is quick because it needs none of the heavy libraries."""
    code = (
        "import sys\nfrom batchchat.cli.app import entry\n"
        f"status = entry({words!r})\n"
        f"print([name for name in {(*HEAVY, 'typer')!r} if name in sys.modules], status, file=sys.stderr)"
    )
    assert python(code=code).stderr == "[] 0\n"


def test_a_run_imports_no_more_than_it_needs(simulator, tmp_path):
    """The first request waits for no library that it has no need of: not for pandas, and at loopback for no prices."""
    pq.write_table(pa.table({"prompt": pa.array(["one", "two"])}), tmp_path / "t.parquet")
    words = ["run", "t.parquet", "-m", "sim", "--base-url", simulator().base_url, "-o", "o.parquet", "--quiet"]
    unwanted = ("pandas", "genai_prices", "rich", "tiktoken", "fsspec")
    code = (
        "import sys\nfrom batchchat.cli.app import entry\n"
        f"status = entry({words!r})\n"
        f"print([name for name in {unwanted!r} if name in sys.modules], status, file=sys.stderr)"
    )
    assert python(code=code, cwd=tmp_path).stderr == "[] 0\n"


def test_the_first_page_lists_every_command(run):
    """`batchchat --help` names each command with its first sentence, and so does `batchchat --help run`."""
    status, out, err = run("--help")
    assert (status, err) == (0, "")
    assert [name for name in PAGES if f"\n  {name} " not in out] == []
    assert PAGES.keys() == app.COMMANDS.keys()
    assert run("--help", "run") == run("-h") == (0, out, "")


def test_without_arguments_three_commands_are_shown(run):
    """No arguments: at most 24 lines, three commands to paste, nothing on stderr."""
    status, out, err = run()
    assert (status, err) == (0, "")
    assert len(out.splitlines()) <= 24
    assert len([line for line in out.splitlines() if line.startswith("  batchchat ")]) == 3


def test_the_commands_to_paste_are_commands(run):
    """What the first page tells to paste has options that exist."""
    _, out, _ = run()
    known = {option.long for option in SHARED} | {option.short for option in SHARED} | {"--row", "--help"}
    typed = [word for line in out.splitlines() if "batchchat " in line for word in line.split() if word.startswith("-")]
    assert typed
    assert [word.rstrip(",") for word in typed if word.rstrip(",") not in known] == []


@pytest.mark.parametrize("name", list(PAGES))
def test_every_command_has_a_page(run, name):
    """-h and --help print the same page on stdout; it names --debug, and stands within 100 columns."""
    status, out, err = run(name, "--help")
    assert (status, err) == (0, "")
    assert run(name, "-h")[1] == out
    assert out.startswith(f"Usage: batchchat {name}")
    assert "--debug" in out
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize("name", list(PAGES))
def test_every_option_has_its_sentence(name):
    """No option of any command is without a sentence that begins with a capital and ends without a full stop."""
    options = [*PAGES[name].options, *(PAGES[name].further() if PAGES[name].further else ())]
    wrong = [option.name for option in options if not option.help or option.help.endswith(".")]
    assert wrong == []


def test_the_options_of_run_are_those_of_the_contract(run):
    """Every option that the contract names is there, in its order; others may stand between them."""
    contract = (
        "prompt-column prompt prompt-file system messages-column model temperature top-p n stream stop max-tokens "
        "max-completion-tokens presence-penalty frequency-penalty logit-bias user seed response-format extra-body "
        "base-url api-key-env profile env-file header "
        "concurrency rpm tpm timeout max-retries max-outage max-retry-after limit where sample "
        "seed-rows rows output checkpoint max-cost price retry retry-failed keep-answered restart overwrite prefix "
        "dry-run yes json quiet delimiter encoding"
    ).split()
    assert [option.long[2:] for option in SHARED if option.long[2:] in contract] == contract


def test_options_and_jobs_speak_of_the_same():
    """Each option of the table is one that a job knows, and the other way round."""
    assert {option.name for option in SHARED} - NOT_OF_THE_JOB == OPTIONS.keys()
    assert {option.name for option in RESUMED} - NOT_OF_THE_JOB <= OPTIONS.keys()


def test_defaults_stand_on_the_page():
    """What holds where an option is not given is shown."""
    shown = {option.name: sentence(option) for option in SHARED}
    assert shown["timeout"].endswith("[default: 600]")
    assert shown["api_key_env"].endswith("[default: OPENAI_API_KEY]")


def test_the_version_is_told(run):
    """--version prints one line."""
    status, out, _ = run("--version")
    assert status == 0
    assert out.startswith("batchchat ")


# Usage errors


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "t.csv", "--temprature", "1"], "did you mean --temperature?"),
        (["run"], "missing argument 'INPUT'"),
        (["run", "t.csv", "--temperature", "hot"], "--temperature 'hot': must be a number"),
        (["run", "t.csv", "--concurrency", "1.5"], "--concurrency '1.5': must be a whole number"),
        (["run", "t.csv", "--temperature", "3"], "--temperature 3.0: must be from 0 to 2"),
        (["run", "t.csv", "--model"], "batchchat run: --model takes a value (batchchat run --help)"),
        (["run", "t.csv", "u.csv"], "u.csv"),
        (["rnu", "t.csv"], "there is no command rnu; did you mean run?"),
        (["reviews.csv", "-m", "m"], "is no command; did you mean run?\n  batchchat run reviews.csv -m m"),
        (["label.toml"], "did you mean run?\n  batchchat run label.toml"),
        (["t.csv.batchchat"], "did you mean status?\n  batchchat status t.csv.batchchat"),
        (["-m", "m", "t.csv"], "the command stands first, as run\n  batchchat run -m m t.csv"),
        (["run", "t.csv"], "OPENAI_API_KEY is not set"),
        (["run", "nowhere.csv", "-m", "local"], "nowhere.csv"),
        (["run", "nowhere.toml", "-m", "local"], "nowhere.toml: cannot be read"),
        (["resume", "nowhere.csv"], "nowhere.csv"),
        (["status", "nowhere.csv"], "nowhere.csv"),
        (["export", "nowhere.csv"], "nowhere.csv"),
        (["run", "t.csv", "--api-key", "sk-123"], "a key is never an argument: export OPENAI_API_KEY=..."),
        (["serve", "--latancy", "3"], "did you mean --latency?"),
        (["serve", "--latency"], "--latency takes a value"),
        (["serve", "--model", "gpt"], "gpt"),
    ],
)
def test_usage_errors_are_two_lines_and_status_two(run, words, said):
    """A usage error is one or two lines on stderr, with what was meant; stdout stays empty."""
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) <= 2
    assert "Traceback" not in err
    assert "sk-123" not in err


def test_debug_shows_the_traceback(run):
    """--debug prints where an error came from, with the same status."""
    status, _, err = run("run", "t.csv", "--temperature", "3", "--debug")
    assert status == 2
    assert "Traceback" in err


def test_nothing_is_created_by_a_usage_error(run, tmp_path):
    """A usage error leaves the folder as it was."""
    (tmp_path / "t.csv").write_text("prompt\nhello\n")
    for words in (["--prompt", "{{ nothing }}"], ["--prompt", "{{ open"], ["--encoding", "none"]):
        assert run("run", "t.csv", "-m", "m", "--base-url", "http://127.0.0.1:9/v1", *words)[0] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


# Statuses


def _raises(error):
    def call():
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UsageError("wrong"), 2, "batchchat: wrong"),
        (CheckpointBusy("busy"), 1, "batchchat: busy"),
        (Interrupted(signal_number=15), 143, "batchchat: interrupted"),
        (Interrupted(signal_number=1), 129, "batchchat: interrupted"),
        (KeyboardInterrupt(), 130, "batchchat: interrupted"),
        (OSError(28, "No space left on device", "o.csv"), 1, "batchchat: o.csv: No space left on device"),
        (ValueError("oh"), 1, "fault of batchchat itself: ValueError: oh"),
    ],
)
def test_an_exception_becomes_a_sentence_and_a_status(capsys, error, status, said):
    """Each kind of error has the status of the contract, and a line."""
    assert failure.status_of(_raises(error)) == status
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_an_interrupt_before_the_run_is_130(tmp_path):
    """Ctrl-C during the imports ends quietly with 130."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'batchchat.cli.app':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(PROJECT)])}
    ended = subprocess.run(
        [sys.executable, "-m", "batchchat", "--help"], capture_output=True, env=environ, timeout=30, check=False
    )
    assert (ended.returncode, ended.stderr) == (130, b"")


# Streams


class Broken(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


def test_a_reader_that_went_away_is_no_error(monkeypatch):
    """A closed stdout is silent."""
    monkeypatch.setattr(sys, "stdout", Broken())
    stream.emit("text")


class Full(io.StringIO):
    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_on_a_full_disk_is_no_error(monkeypatch):
    """What people are told is worth no job; what was asked for on stdout is, and is not lost in silence."""
    monkeypatch.setattr(sys, "stderr", Full())
    stream.tell("text")
    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(OSError, match="No space left"):
        stream.emit("text")


def test_a_closed_pipe_is_silent():
    """`batchchat --help | head -0` says nothing on stderr."""
    reader, writer = os.pipe()
    os.close(reader)
    environ = {**os.environ, "PYTHONPATH": str(PROJECT)}
    ended = subprocess.run(
        [sys.executable, "-m", "batchchat"], stdout=writer, stderr=subprocess.PIPE, env=environ, timeout=30, check=False
    )
    os.close(writer)
    assert ended.stderr == b""


def test_text_that_a_terminal_cannot_show_is_replaced(monkeypatch):
    """An ASCII stdout does not end a command."""
    plain = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", plain)
    stream.emit("naïve 你")
    assert plain.buffer.getvalue() == b"na?ve ?\n"


def test_json_is_whole_and_readable(capsys):
    """emit_json writes one JSON value, text as it is."""
    stream.emit_json({"a": "ü"})
    out = capsys.readouterr().out
    assert json.loads(out) == {"a": "ü"}
    assert "ü" in out


# curl


def test_the_curl_command_is_what_a_shell_understands():
    """Texts are quoted, and only variables are left for the shell."""
    command = curl_command(
        "http://h/v1/chat/completions",
        {"Authorization": "Bearer $MY_KEY", "X-Odd": "it's `x`", "X-Mixed": '"a" ${B}'},
        {"messages": [{"role": "user", "content": "it's $HOME\nüber"}]},
    )
    script = "curl() { printf '%s\\0' \"$@\"; }\n" + command
    ended = subprocess.run(
        ["sh", "-c", script], capture_output=True, env={"MY_KEY": "k", "B": "b", "PATH": os.environ["PATH"]}, check=True
    )
    words = ended.stdout.decode().split("\0")[:-1]
    assert words[:-1] == [
        "http://h/v1/chat/completions",
        "-H",
        "Authorization: Bearer k",
        "-H",
        "X-Odd: it's `x`",
        "-H",
        'X-Mixed: "a" b',
        "-d",
    ]
    assert json.loads(words[-1])["messages"][0]["content"] == "it's $HOME\nüber"

"""Completion: what a shell is answered when it asks what a word may become."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchchat.cli import app
from batchchat.cli.complete import candidates


@pytest.fixture(autouse=True)
def _files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    Path("reviews.csv").write_text("id,review text,lang\n1,good,en\n", encoding="utf-8")
    Path("label.toml").write_text('input = "data/t.parquet"\n', encoding="utf-8")
    Path("data").mkdir()
    pq.write_table(pa.table({"sentence": ["a"], "score": [1]}), "data/t.parquet")
    Path("notes.txt").write_text("no table", encoding="utf-8")


def words(line, begun="", **more):
    return [one.word for one in candidates(line.split(), begun, **more)]


def test_commands_and_options():
    """The first word becomes a command, a word with dashes an option of the command that was not said yet."""
    assert words("", "re") == ["resume", "report"]
    assert words("", "--v") == ["--version"]
    assert words("run t.csv", "--max-r") == ["--max-retries", "--max-retry-after"]
    assert "--no-stream" in words("run t.csv", "--no")
    assert words("run t.csv --max-retries 3", "--max-r") == ["--max-retry-after"]
    assert words("serve", "--latency-s") == ["--latency-sigma"]
    assert words("nothing", "x") == []


@pytest.mark.parametrize(
    ("line", "begun", "found"),
    [
        ("run reviews.csv --prompt-column", "", ["id", "review text", "lang"]),
        ("run --messages-column x reviews.csv --prompt-column", "la", ["lang"]),
        ("run label.toml --prompt-column", "s", ["sentence", "score"]),
        ("compare reviews.csv other.csv --gold", "l", ["lang"]),
        ("run reviews.csv", "--prompt-column=la", ["--prompt-column=lang"]),
        ("run nowhere.csv --prompt-column", "", []),
        ("run reviews.csv --param-column", "max_t", ["max_tokens="]),
        ("run reviews.csv --param-column", "max_tokens=i", ["max_tokens=id"]),
        ("run reviews.csv --delimiter ; --prompt-column", "", ["id,review text,lang"]),
    ],
)
def test_columns_of_the_input(line, begun, found):
    """Where an option takes a column, the input's columns are offered: of a table, or of a job file's table."""
    assert words(line, begun) == found


@pytest.mark.parametrize(
    ("begun", "quote", "found"),
    [
        ("Say {{ l", "'", ["Say {{ lang }}"]),
        ("Say {{", "'", ["Say {{id }}", 'Say {{row["review text"] }}', "Say {{lang }}"]),
        ("{{ row['re", '"', ["{{ row['review text'] }}"]),
        ("{{ lang }} and {{ i", "'", ["{{ lang }} and {{ id }}"]),
        ("{% if la", "'", ["{% if lang"]),
        (
            "In {{ lang }}:",
            '"',
            [f"In {{{{ lang }}}}: {{{{ {name} }}}}" for name in ("id", "row['review text']", "lang")],
        ),
        ("{{ lang.up", "'", []),
        ("{{ lang | upper", "'", []),
    ],
)
def test_columns_inside_a_template(begun, quote, found):
    """In braces a name becomes a column, with quotes of the other kind; outside of them braces are offered."""
    assert words("run reviews.csv --prompt", begun, quote=quote)[: len(found) or None] == found


def test_other_values():
    """Kinds, formats, models, profiles and the columns of an expression are offered; paths are the shell's."""
    assert words("run reviews.csv --retry", "failed,l") == ["failed,length"]
    assert words("rows t.csv --format", "") == ["table", "csv", "json"]
    assert words("run reviews.csv --where", "id == 1 and la") == ["id == 1 and lang"]
    config = Path.home() / ".config" / "batchchat" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[profiles.work]\nmodel = "m"\n[aliases]\nfast = "gpt-4.1-mini"\n', encoding="utf-8")
    assert words("run reviews.csv -m", "") == ["local", "fast"]
    assert words("run reviews.csv -p", "w") == ["work"]
    config.write_text("no TOML", encoding="utf-8")
    assert words("run reviews.csv -m", "") == ["local"]
    assert words("run reviews.csv -o", "") == []


def test_inputs_and_jobs():
    """INPUT becomes a table or a job file, JOB what belongs to a checkpoint."""
    assert words("run", "") == ["label.toml", "reviews.csv", "data/"]
    assert words("run", "da") == []  # a folder alone is the shell's
    assert words("run", "data/") == ["data/t.parquet"]
    assert words("status", "") == ["label.toml", "data/"]
    Path("reviews.completions.csv.batchchat").touch()
    assert words("status", "re") == ["reviews.completions.csv.batchchat", "reviews.csv"]
    assert words("run reviews.csv", "") == []


@pytest.fixture
def ask(capsys, monkeypatch):
    """Asks as a shell's script does; the status and what is printed."""

    def ask(name, **variables):
        with monkeypatch.context() as surroundings:
            for variable, value in {"_BATCHCHAT_COMPLETE": f"complete_{name}", **variables}.items():
                surroundings.setenv(variable, value)
            return app.entry(), capsys.readouterr().out

    return ask


@pytest.fixture
def bash(ask):
    """What bash gets for the last of some words."""

    def bash(*typed):
        status, out = ask("bash", COMP_WORDS="\n".join(["batchchat", *typed]), COMP_CWORD=str(len(typed)))
        assert status == 0
        return out.splitlines()

    return bash


def test_bash(bash):
    """In quotes a word is given as it is, outside with backslashes; of a word that bash cut, its end is given."""
    assert bash("run", "reviews.csv", "--prompt-column", "re") == ["review\\ text"]
    assert bash("run", "reviews.csv", "--prompt", "'Say {{ row") == ['Say {{ row["review text"] }}']
    assert bash("run", "reviews.csv", "--prompt-column", "=", "la") == ["lang"]
    assert bash("run", "reviews.csv", "--param-column", "user", "=", "la") == ["lang"]
    assert bash("run", "reviews.csv", "--prompt-column", "=") == ["id", "review\\ text", "lang"]
    assert bash("run", "--base-url", "http", ":", "//x", "reviews.csv", "--prompt-column", "la") == ["lang"]
    assert bash("run", "rev") == ["reviews.csv"]


@pytest.fixture
def line(ask):
    """What the other shells get for a line."""

    def line(name, typed, **more):
        status, out = ask(name, _TYPER_COMPLETE_ARGS=f"batchchat {typed}", **more)
        return status, out.rstrip("\n")

    return line


def test_zsh(line):
    """What is answered survives the two evaluations of the script: quotes, dollars and colons are kept."""
    Path("odd.csv").write_text('it\'s,a:b,"x$y"\n1,2,3\n', encoding="utf-8")
    _, out = line("zsh", "run odd.csv --prompt-column ")
    assert out == '_arguments \'*: :(("it\'\\\'\'s"\n"a\\\\:b"\n"x\\$y"))\''
    assert line("zsh", "run odd.csv -o ")[1] == "_files"


def test_fish(line):
    """Words stand with their sentences; where there are none, fish is told to offer files."""
    status, out = line("fish", "run --max-retr", _TYPER_COMPLETE_FISH_ACTION="get-args")
    assert (status, out.splitlines()[0].split("\t")[0]) == (0, "--max-retries")
    assert line("fish", "run reviews.csv --prompt 'a {{ la", _TYPER_COMPLETE_FISH_ACTION="get-args")[1] == (
        "a {{ lang }}"
    )
    assert line("fish", "run reviews.csv -o ", _TYPER_COMPLETE_FISH_ACTION="is-args")[0] == 1
    assert line("fish", "run reviews.csv -m ", _TYPER_COMPLETE_FISH_ACTION="is-args")[0] == 0


def test_powershell(line):
    """A word with spaces is quoted."""
    status, out = line("pwsh", "run reviews.csv --prompt-column re", _TYPER_COMPLETE_WORD_TO_COMPLETE="re")
    assert (status, out) == (0, "'review text':::review text")


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_the_script_of_bash_gets_its_answer(tmp_path):
    """In a real bash, with the script that --show-completion prints, a column of the input is completed."""
    program = tmp_path / "bin" / "batchchat"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m batchchat "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    script = f"""
    {_script("bash")}
    COMP_WORDS=(batchchat run reviews.csv --prompt "'Say {{{{ la"); COMP_CWORD=4
    _batchchat_completion batchchat; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environ = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    told = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, env=environ)
    assert (told.stdout, told.stderr) == ("Say {{ lang }}\n", "")


def _script(name):
    """What `--install-completion` writes for a shell."""
    from typer.completion import get_completion_script

    return get_completion_script(prog_name="batchchat", complete_var="_BATCHCHAT_COMPLETE", shell=name)

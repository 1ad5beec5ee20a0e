"""A misspelt name: the right one is suggested, with a command to paste."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from batchchat import spelling
from batchchat.cli import app

pytestmark = pytest.mark.usefixtures("plain_surroundings")


@pytest.fixture
def run(capsys):
    """A command line: its status, and the lines on stderr."""

    def run(*words):
        status = app.entry([str(word) for word in words])
        return status, capsys.readouterr().err.splitlines()

    return run


@pytest.fixture
def server(simulator):
    return simulator(models="mini,maxi")


@pytest.fixture
def job(server):
    """Where requests go and to which model."""
    return ("--base-url", server.base_url, "-m", "mini", "--quiet")


def table(text="id,review\n1,good\n", name="t.csv"):
    Path(name).write_text(text)


def pasted(line):
    """The words of a suggested command, without the program's name."""
    program, *words = shlex.split(line)
    assert program == "batchchat"
    return words


def mends(run, *words, status=2):
    """The first command fails and suggests a second, which succeeds."""
    first, lines = run(*words)
    assert first == status
    assert len(lines) <= 3 if status == 2 else True
    command = next(line for line in lines if line.startswith("  batchchat "))
    assert run(*pasted(command.strip()))[0] == 0
    return lines


def test_a_column(run, job):
    """A misspelt column suggests the nearest one."""
    table()
    lines = mends(run, "run", "t.csv", *job, "--prompt-column", "reveiw")
    assert "did you mean 'review'?" in lines[0]


def test_a_template_variable(run, job):
    """A misspelt variable is put right inside the template."""
    table()
    lines = mends(run, "run", "t.csv", *job, "--prompt", "It's {{ reveiw }}?")
    assert "did you mean 'review'?" in lines[0]


def test_a_variable_that_is_no_identifier(run, job):
    """A column whose name is no variable's is suggested as row['its name']."""
    table("the text\ngood\n")
    lines = mends(run, "run", "t.csv", *job, "--prompt", "{{ the_text }}")
    assert "row['the text']" in shlex.split(lines[1])[-1]


def test_a_variable_in_a_prompt_file(run, job):
    """In a file it is sed that puts it right."""
    table()
    Path("p.txt").write_text("Tell me.\nIs it {{ reveiw }}?\n")
    words = ("run", "t.csv", *job, "--prompt-file", "p.txt")
    status, lines = run(*words)
    assert status == 2
    assert lines[-1] == "  sed -i.bak 2s/reveiw/review/ p.txt"
    if sys.platform != "win32":
        subprocess.run(lines[-1].strip(), shell=True, check=True)
        assert run(*words)[0] == 0


def test_no_prompt_at_all(run, job):
    """Where no column is called prompt, a template with one of the columns is suggested."""
    table()
    lines = mends(run, "run", "t.csv", *job)
    assert lines[1].endswith("--prompt '{{ review }}'")


def test_an_option(run, job):
    """A misspelt option is suggested, its value kept."""
    table()
    lines = mends(run, "run", "t.csv", *job, "--promt=Is it {{ review }}?")
    assert "did you mean --prompt?" in lines[0]


def test_a_command(run, job):
    """So is a command."""
    table()
    lines = mends(run, "rnu", "t.csv", *job, "--prompt", "{{ review }}")
    assert "did you mean run?" in lines[0]


def test_a_key_of_a_job_file(run, server):
    """A misspelt key names its line, and sed puts it right."""
    table()
    Path("job.toml").write_text(
        f'input = "t.csv"\n[prompt]\ntemplate = "{{{{ review }}}}"\n[request]\nmodel = "mini"\ntemprature = 0\n'
        f'[endpoint]\nbase_url = "{server.base_url}"\n'
    )
    status, lines = run("run", "job.toml")
    assert status == 2
    assert "job.toml, line 6: unknown key request.temprature; did you mean temperature?" in lines[0]
    if sys.platform != "win32":
        subprocess.run(lines[-1].strip(), shell=True, check=True)
        assert run("run", "job.toml")[0] == 0


@pytest.mark.parametrize("wrong", ["t.cvs", "tt.csv", "T.cs"])
def test_an_input(run, job, wrong):
    """An input that is not there suggests the table that is."""
    table()
    lines = mends(run, "run", wrong, *job, "--prompt-column", "review")
    assert "did you mean t.csv?" in lines[0]


def test_a_job_file_that_is_not_there(run, server):
    """So does a job file."""
    table()
    Path("label.toml").write_text(
        f'input = "t.csv"\n[prompt]\ncolumn = "review"\n[request]\nmodel = "mini"\n'
        f'[endpoint]\nbase_url = "{server.base_url}"\n'
    )
    lines = mends(run, "run", "labels.toml", "--quiet")
    assert "did you mean label.toml?" in lines[0]


@pytest.mark.parametrize(
    ("wrong", "right"), [("o.parqet", "o.parquet"), ("o.json", "o.jsonl"), ("o.cvs.gz", "o.csv.gz")]
)
def test_the_suffix_of_an_output(run, job, wrong, right):
    """An unknown suffix of the output suggests the nearest that is known."""
    table()
    lines = mends(run, "run", "t.csv", *job, "--prompt-column", "review", "-o", wrong)
    assert f"did you mean {right}?" in lines[0]
    assert Path(right).exists()


def test_a_suffix_of_nothing_near(run, job):
    """A table of a format that nobody knows says which are known."""
    Path("t.xlsx").write_bytes(b"PK")
    status, lines = run("run", "t.xlsx", *job)
    assert status == 2
    assert ".csv, .tsv, .parquet, .jsonl" in lines[0]
    assert len(lines) == 1


def test_a_job(run, job):
    """A job that is not there suggests one that is, by its output, input or job file."""
    table()
    assert run("run", "t.csv", *job, "--prompt-column", "review")[0] == 0
    lines = mends(run, "status", "t.completion.csv")
    assert "did you mean t.completions.csv?" in lines[0]
    assert "did you mean t.csv?" in mends(run, "status", "tt.csv")[0]


def test_a_model(run, server):
    """A model that the endpoint does not have suggests the nearest that it has."""
    table()
    words = ("--base-url", server.base_url, "-m", "minni", "--prompt-column", "review", "--quiet")
    lines = mends(run, "run", "t.csv", *words, status=1)
    assert any("did you mean mini?" in line for line in lines)


def test_a_model_alias(run, server, monkeypatch, tmp_path):
    """A misspelt alias of a model suggests the alias."""
    table()
    folder = tmp_path / "home" / "batchchat"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('[aliases]\nquick = "maxi"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    words = ("--base-url", server.base_url, "-m", "quikc", "--prompt-column", "review", "--quiet")
    lines = mends(run, "run", "t.csv", *words, status=1)
    assert any("did you mean quick?" in line for line in lines)


def test_a_profile(run, server, monkeypatch, tmp_path):
    """A misspelt profile suggests the right one."""
    table()
    folder = tmp_path / "home" / "batchchat"
    folder.mkdir(parents=True)
    text = f'[profiles.work]\nmodel = "mini"\nendpoint = {{ base_url = "{server.base_url}" }}\n'
    (folder / "config.toml").write_text(text)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    lines = mends(run, "run", "t.csv", "-p", "wokr", "--prompt-column", "review", "--quiet")
    assert "did you mean work?" in lines[0]


def test_the_embedded_model(run):
    """A model that is nearly `local`, where no endpoint was named and no key is there, suggests local."""
    table()
    status, lines = run("run", "t.csv", "-m", "locla", "--prompt-column", "review")
    assert status == 2
    assert lines[-1] == "  batchchat run t.csv -m local --prompt-column review"


def test_a_format_of_rows(run, job):
    """A misspelt value is suggested too."""
    table()
    run("run", "t.csv", *job, "--prompt-column", "review")
    assert "did you mean csv?" in mends(run, "rows", "t.csv", "--format", "cvs")[0]


def test_nothing_near_is_no_guess():
    """Where no name is near, none is suggested."""
    assert spelling.nearest("zebra", ["review", "id"]) is None
    assert spelling.nearest("REVIEW", ["Review"]) == "Review"
    assert spelling.nearest_file("no/such/folder/t.csv", [".csv"]) is None
    assert spelling.nearest_file("s3://bucket/t.csv", [".csv"]) is None

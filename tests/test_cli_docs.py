"""The pages about commands and job files say what the program does."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from batchchat.cli.manual import manual
from batchchat.cli.page import PAGES
from batchchat.cli.schema import schema
from batchchat.job.options import VARIABLES
from batchchat.job.schema import JobFile, known_keys

DOCS = Path(__file__).resolve().parents[1] / "docs"
JOB_FILES = (DOCS / "job-files.md").read_text(encoding="utf-8")


def test_the_command_page_is_that_of_the_help():
    """docs/cli.md is what `python -m batchchat.cli.manual` prints now."""
    assert (DOCS / "cli.md").read_text(encoding="utf-8") == manual(), (
        "run: python -m batchchat.cli.manual > docs/cli.md"
    )


def test_the_schema_of_job_files_is_that_of_the_program():
    """docs/job.schema.json is what `python -m batchchat.cli.schema` prints now, and the page links it."""
    assert (DOCS / "job.schema.json").read_text(encoding="utf-8") == schema() + "\n", (
        "run: python -m batchchat.cli.schema > docs/job.schema.json"
    )
    assert "(job.schema.json)" in JOB_FILES


def test_the_job_file_page_names_every_key():
    """Every key that a job file may have stands on its page, and so does every variable's rule."""
    keys = known_keys(JobFile)
    named = set(re.findall(r"`(?:[a-z]+\.)?([a-z_]+)`", JOB_FILES)) | set(
        re.findall(r"\[(?:request\.)?([a-z_]+)\]", JOB_FILES)
    )
    missing = {key for section, inner in keys.items() for key in (section, *(inner or ()))} - named
    assert missing == set()
    assert all(name in JOB_FILES for name in list(VARIABLES)[:3])


def test_each_step_of_the_walk_was_suggested_by_one_before():
    """Commands of docs/walkthrough.md have options that exist, and were suggested before, but for the prompt."""
    page = (DOCS / "walkthrough.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n\$ ([^\n]*)\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 8
    suggested: list[str] = []
    for nth, (line, said) in enumerate(blocks):
        program, name, *words = shlex.split(line)
        known = {one for option in PAGES[name].options for one in (option.long, option.short)}
        assert program == "batchchat"
        assert {word for word in words if word.startswith("-")} <= known
        own = {words[words.index("--prompt") + 1]} if "--prompt" in words else set()
        fitting = [shlex.split(one) for one in suggested if one.startswith(f"batchchat {name} ")]
        assert nth == 0 or any(set(words) - own <= set(one) for one in fitting), line
        suggested += re.findall(r"batchchat [a-z]+ [^\n]*", said)


@pytest.mark.parametrize("text", re.findall(r"```toml\n(.*?)```", JOB_FILES, re.DOTALL))
def test_the_job_files_on_the_page_are_job_files(text):
    """Each example is one that the program takes."""
    JobFile.model_validate({"input": "t.csv", **tomllib.loads(text)})

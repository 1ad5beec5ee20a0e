"""The repository around the code: what a clone, a wheel and a reader get."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
BINARY = {".parquet", ".gz", ".png", ".ico", ".gguf", ".batchchat"}
LARGEST = 1 << 20

# The brackets keep this file from being what it looks for.
PACKAGE_INDEX = re.compile(
    r"--(extra-)?index[-]url|--find[-]links|py[p]i\.org/simple|files\.python[h]osted|registry\.npm[j]s|:/[s]imple/"
)
MACHINE_PATH = re.compile(
    r"(?<![\w.])/(r[o]ot|w[o]rk)/\w|/opt/([w]heels|py[p]i)|\.pye[n]v/|/home/(?!user|you|me)\w+/|/[U]sers/\w"
)
SECRET = re.compile(
    r"\bsk-(?!.{0,40}(test|example|secret|fake|wrong|dummy|your|xxx|0123456))[A-Za-z0-9_-]{24,}|AKIA[0-9A-Z]{16}|ghp_\w{30}"
    r"|xox[abp]-\w{10}|AIza[\w-]{35}|-----BEGIN [A-Z ]*PRIVATE[ ]KEY-----"
)


def tracked() -> list[Path]:
    """The files that git keeps; in an unpacked archive, all of them."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=False).stdout
    names = listed.split("\0") if listed else [str(p.relative_to(PROJECT)) for p in PROJECT.rglob("*") if p.is_file()]
    return [
        PROJECT / name
        for name in names
        if name and not name.startswith((".venv", "build/")) and (PROJECT / name).is_file()
    ]


def texts() -> dict[str, str]:
    files = [file for file in tracked() if file.suffix not in BINARY]
    return {file.relative_to(PROJECT).as_posix(): file.read_text(encoding="utf-8", errors="replace") for file in files}


def read(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def pyproject() -> dict:
    return tomllib.loads(read("pyproject.toml"))


@pytest.mark.parametrize("pattern", [PACKAGE_INDEX, MACHINE_PATH, SECRET], ids=["index", "machine", "secret"])
def test_no_file_names_an_index_a_machine_or_a_secret(pattern):
    """A clone works elsewhere: no package index's address, no path of one machine, nothing that looks like a key."""
    found = [
        f"{name}:{number}: {match[0]}"
        for name, text in texts().items()
        for number, line in enumerate(text.splitlines(), start=1)
        if (match := pattern.search(line))
    ]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (PACKAGE_INDEX, "--index" + "-url https://example.org"),
        (PACKAGE_INDEX, "# found at https://py" + "pi.org/simple"),
        (MACHINE_PATH, "open('/ro" + "ot/notes.txt')"),
        (MACHINE_PATH, "see /home/" + "maria/batchchat"),
        (SECRET, "key = 'sk-" + "a1b2c3d4e5f6g7h8i9j0k1l2m3'"),
        (SECRET, "-----BEGIN RSA PRIVATE" + " KEY-----"),
    ],
)
def test_what_must_not_stand_in_a_file_is_recognised(pattern, text):
    """The patterns above see what they are for."""
    assert pattern.search(text)


def test_no_tracked_file_is_large():
    """A clone stays quick: no tracked file has more than a megabyte."""
    assert [str(file) for file in tracked() if file.stat().st_size > LARGEST] == []


def test_every_make_target_that_is_named_exists():
    """`make x` in the README, the guides, the workflow and .ci/run is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z][\w-]*):", read("Makefile"), flags=re.MULTILINE))
    for name in (
        "README.md",
        ".github/CONTRIBUTING.md",
        ".github/workflows/ci.yml",
        ".ci/run",
        "requirements/README.md",
    ):
        named = set(
            re.findall(r"(?:^|[`\s])make(?: [A-Z]+=\S+)* ([a-z][\w-]*)(?=[`\s:]|$)", read(name), flags=re.MULTILINE)
        )
        assert named <= targets, name


def test_every_target_that_is_no_file_is_phony_and_explained():
    """`make help` lists every target, and a file of the same name cannot stand in its way."""
    makefile = read("Makefile")
    phony = set(re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)[1].split())
    explained = set(re.findall(r"^([a-z][\w-]*):[^\n]*## ", makefile, flags=re.MULTILINE))
    assert phony == explained == set(re.findall(r"^([a-z][\w-]*):", makefile, flags=re.MULTILINE))


def test_every_command_and_option_of_the_readme_exists():
    """What the README tells people to type stands on the page that is made from --help."""
    page = read("docs/cli.md")
    blocks = re.findall(r"^```sh\n(.*?)^```", read("README.md"), flags=re.MULTILINE | re.DOTALL)
    lines = [line.split(" #")[0] for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    typed = [line for line in lines if line.startswith("batchchat ")]
    assert typed
    for line in typed:
        assert f"## {' '.join(line.split()[:2])}" in page, line
        for option in re.findall(r" (--?[a-z][\w-]*)", re.sub(r"'[^']*'", "", line)):
            assert re.search(rf"[`\s/]{re.escape(option)}[`\s,/]", page), option


def test_an_old_python_is_refused_by_name(tmp_path):
    """Make says which Python it found, that it is too old, and how to name another one; it installs nothing."""
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.1" && exit 0\nexit 1\n')
    old.chmod(0o755)
    venv = tmp_path / "venv"

    ran = subprocess.run(
        ["make", f"PYTHON={old}", f"VENV={venv}", "test"], cwd=PROJECT, capture_output=True, text=True, check=False
    )

    assert ran.returncode != 0
    assert f"needs Python 3.11 or newer; '{old}' is Python 3.9.1" in ran.stderr
    assert "make PYTHON=python3.12 test" in ran.stderr
    assert not venv.exists()


def test_links_between_pages_lead_somewhere():
    """A relative link in a Markdown file points to a file or folder of the repository."""
    broken = [
        f"{name}: {target}"
        for name, text in texts().items()
        if name.endswith(".md")
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
        if "://" not in target and not (PROJECT / name).parent.joinpath(target).exists()
    ]
    assert not broken, broken


def test_the_changelog_keeps_what_is_unreleased_first():
    """CHANGELOG.md begins with a section for what is not released yet."""
    assert re.findall(r"^## (.*)$", read("CHANGELOG.md"), flags=re.MULTILINE)[0] == "Unreleased"


def test_the_licence_is_whole():
    """LICENSE is the text of the Apache License 2.0, its terms and its appendix."""
    text = read("LICENSE")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert "limitations under the License." in text
    assert pyproject()["project"]["license"] == "Apache-2.0"


# Locked requirements


def locked(name: str) -> dict[str, str]:
    """The pinned versions of a file, by name; every requirement must have its hashes."""
    text = re.sub(r"\\\n\s*", " ", read(f"requirements/{name}.txt"))
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert all("--hash=sha256:" in line for line in lines), name
    return dict(re.match(r"([\w.-]+)==(\S+)", line).groups() for line in lines)


def canonical(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def test_locked_requirements_belong_together():
    """Every dependency is locked and hashed, and the test environment runs the versions that users get."""
    runtime, test, build = locked("runtime"), locked("test"), locked("build")
    assert {canonical(r) for r in pyproject()["project"]["dependencies"]} <= set(runtime)
    assert {canonical(line) for line in read("requirements/local.in").splitlines() if line[:1].isalpha()} == set(
        locked("local")
    )
    for name, version in (runtime | build).items():
        assert test[name] == version, name


def test_requirements_are_only_names_versions_and_hashes():
    """A locked file has no option line: it installs from whichever index pip is set up for."""
    for file in (PROJECT / "requirements").glob("*.txt"):
        options = [line for line in file.read_text().splitlines() if line.startswith("-")]
        assert options == [], file.name


# What is built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, timeout=50)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_wheel_is_typed_and_whole(wheel):
    """The wheel carries every module, py.typed and the licence, and nothing but the package."""
    names = wheel.namelist()
    modules = {p.relative_to(PROJECT).as_posix() for p in (PROJECT / "batchchat").rglob("*.py")}
    assert modules <= set(names)
    assert "batchchat/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"batchchat"}


def test_the_wheel_says_what_it_needs(wheel):
    """Its metadata names the versions of Python and the console script."""
    metadata = wheel.read(next(n for n in wheel.namelist() if n.endswith("/METADATA"))).decode()
    scripts = wheel.read(next(n for n in wheel.namelist() if n.endswith("/entry_points.txt"))).decode()
    assert "Requires-Python: >=3.11" in metadata
    assert "batchchat = batchchat.__main__:main" in scripts


# Jobs and their tables


def test_jobs_are_data_and_listed():
    """jobs/ holds no code; its README lists every job file, and SOURCES.md every table."""
    assert list((PROJECT / "jobs").rglob("*.py")) == []
    for job in (PROJECT / "jobs").glob("*.toml"):
        assert f"`{job.name}`" in read("jobs/README.md")
    for table in tracked():
        if table.parent == PROJECT / "jobs" / "data" and table.suffix != ".md":
            assert f"## {table.name}" in read("jobs/data/SOURCES.md")


def test_the_reviews_are_what_their_readme_says():
    """At least 300 sentences, rated clearly, with the label that the rating says; either label as often."""
    rows = list(csv.DictReader(read("jobs/data/reviews.csv").splitlines()))
    assert len(rows) >= 300
    assert len({row["id"] for row in rows}) == len({row["sentence"] for row in rows}) == len(rows)
    assert all(abs(float(row["rating"])) >= 2 for row in rows)
    assert all(row["label"] == ("positive" if float(row["rating"]) > 0 else "negative") for row in rows)
    assert sum(row["label"] == "positive" for row in rows) * 2 == len(rows)


def test_the_agreement_counts_labels(tmp_path):
    """benchmarks/agreement.py reads plain and JSON labels; a failed or cut one agrees with nothing."""
    table = tmp_path / "labels.csv"
    completions = ['{\n "sentiment": "positive"\n}', " Negative.", "", '{"sentiment": "posi', "negative"]
    gold = ["positive", "negative", "positive", "positive", "positive"]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["label", "completion"], *zip(gold, completions, strict=True)])
    script = [sys.executable, str(PROJECT / "benchmarks" / "agreement.py"), str(table), "--gold", "label"]

    ran = subprocess.run(script, capture_output=True, text=True, check=True)

    assert ran.stdout == "2 of 5 labels agree (40 %)\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps no executable bit")
def test_ci_runs_the_test_command_of_the_readme():
    """.ci/run can be started as it is, is valid bash, and begins with `make test`."""
    script = PROJECT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert re.search(r"^part .*make test$", read(".ci/run"), flags=re.MULTILINE)

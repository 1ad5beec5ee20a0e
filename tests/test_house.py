"""The house rules: floors, third parties, imports, who may print, sizes and names.

The tables below are the plan of the house. Each rule is a function over the folder of a package that yields one
sentence for each fault, so that the tests can also plant a violation of every kind in a copy, and see it found.
"""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = PROJECT / "batchchat"

# A room imports only from lower floors, never from its own. Rooms that are not built yet may stand here.
FLOORS = {
    "__main__": 12,
    "__init__": 12,
    "python": 11,  # it counts and draws as the command line does
    "cli": 10,
    "cluster": 9,
    "api": 8,
    "engine": 7,
    "client": 7,
    "batch_api": 7,
    "report": 7,
    "dataset": 6,
    "prompt": 6,
    "answer": 6,
    "limiter": 6,
    "retry": 6,
    "transport": 6,
    "checkpoint": 6,
    "output": 6,
    "cost": 6,
    "job": 5,
    "storage": 5,
    "tables": 5,
    "events": 4,
    "wire": 4,
    "records": 2,
    "defaults": 2,
    "spelling": 2,
    "errors": 1,
    "serve": 0,  # aside: the other side of the wire must not share the parser's mistakes
}
# What a room may not import although it is lower.
NOT_FOR = {
    "engine": {room for room, floor in FLOORS.items() if floor == 6},  # it is given its stations, and names none
    "serve": set(FLOORS) - {"errors"},
}
# What a room may import although it is no lower, and why.
ALSO_FOR = {
    "serve": {"errors"},  # an error of ours may be raised by the server's start
    "errors": {"records"},  # a refusal carries the reply that was paid for: named in annotations only
}
THIRD_PARTIES = {
    "cli": {"typer", "rich", "uvloop"},  # the loop is chosen where the program starts
    "cluster": {"ray"},
    "python": {"pandas", "pyarrow"},  # named in annotations only
    "api": {"uvloop"},
    "dataset": {"pandas", "pyarrow"},
    "output": {"pandas", "pyarrow"},
    "prompt": {"jinja2", "orjson"},  # orjson: digests of a million rows' columns, and messages columns
    "retry": {"tenacity"},
    "checkpoint": {"orjson"},  # checksums: an eighth of the time of the standard library's ways
    "transport": {"aiohttp", "yarl", "certifi"},  # yarl is what aiohttp calls an address
    "cost": {"genai_prices", "tiktoken", "bpe_openai"},
    "job": {"pydantic", "pydantic_core", "annotated_types"},
    "storage": {"pyarrow", "fsspec"},
    "wire": {"orjson"},
    "serve": {"aiohttp", "xllamacpp", "uvloop"},
}
# These take so long to import, or need not be there, that they may stand in the function that needs them.
HEAVY = {
    "aiohttp",
    "bpe_openai",
    "certifi",
    "fsspec",
    "genai_prices",
    "jinja2",
    "pandas",
    "pyarrow",
    "pydantic",
    "ray",
    "rich",
    "tenacity",
    "tiktoken",
    "uvloop",
    "xllamacpp",
}
LAZY_ROOMS = {"__init__", "__main__", "cli", "api"}  # they may import anything where they use it: start-up is theirs
PLATFORM_MODULES = {"fcntl", "msvcrt", "resource"}  # exist on one platform only

# serve: its first line on stdout is its base URL. python: looks whether stderr is a terminal.
MAY_PRINT = {"cli", "__main__", "serve", "python"}
READS_ENVIRONMENT = {"job"}
READS_IT_TOO = {
    "cli/shell.py": "a shell asks for completions by variables of its own",
    "transport/surroundings.py": "proxies and certificates are found as every HTTP client finds them",
    "cost/tokens.py": "where tiktoken keeps its files is said by tiktoken's own variables",
}
DRAWERS = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}
LONGEST_FUNCTION, LONGEST_FILE, MOST_PARAMETERS, LONGEST_README = 60, 400, 8, 150
# Each exception with its reason. `file.py` or `file.py:function`.
LONGER: dict[str, str] = {
    "errors.py:__init__": "the fields of the API's error object, each by its name",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported module: its dotted name, the line, and whether a function or TYPE_CHECKING encloses it."""

    name: str
    line: int
    in_function: bool
    typing_only: bool


def room_of(package: Path, file: Path) -> str:
    """The room that a file stands in: the folder's name, or the file's."""
    return file.relative_to(package).with_suffix("").parts[0]


def files(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


@cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


def tree(file: Path) -> ast.Module:
    return parsed(file.read_text(encoding="utf-8"))


def is_typing_block(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(file: Path) -> list[Import]:
    """Everything that a file imports; `from batchchat import x` counts as batchchat.x, a relative import as '.'."""
    found: list[Import] = []

    def visit(node: ast.AST, *, in_function: bool, typing_only: bool) -> None:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            names = ["."]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found.extend(Import(name=n, line=node.lineno, in_function=in_function, typing_only=typing_only) for n in names)
        inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, in_function=inside, typing_only=typing_only or is_typing_block(node))

    visit(tree(file), in_function=False, typing_only=False)
    return found


def house_room(name: str) -> str | None:
    """The room of the house that an import names, '' for the front door itself; None where it is not ours."""
    parts = name.split(".")
    if parts[0] != "batchchat":
        return None
    return parts[1] if len(parts) > 1 else ""


def place(package: Path, file: Path, line: int) -> str:
    return f"{file.relative_to(package).as_posix()}:{line}"


# The rules. Each yields one sentence for each fault.


def floors(package: Path) -> Iterator[str]:
    """A room imports only from lower floors."""
    for file in files(package):
        room = room_of(package, file)
        if room not in FLOORS:
            yield f"{place(package, file, 1)} has no floor"
            continue
        for item in imports(file):
            target = house_room(item.name)
            if target is None or target == room or target in ALSO_FOR.get(room, ()):
                continue
            if target not in FLOORS:
                yield f"{place(package, file, item.line)} imports {item.name}: import from the room, not the front door"
            elif FLOORS[target] >= FLOORS[room]:
                yield f"{place(package, file, item.line)} imports {target} (floor {FLOORS[target]}) from {FLOORS[room]}"
            elif target in NOT_FOR.get(room, ()):
                yield f"{place(package, file, item.line)} imports {target}, which {room} must not know"


def third_parties(package: Path) -> Iterator[str]:
    """A library of others is known to the rooms that the table names."""
    for file in files(package):
        room = room_of(package, file)
        for item in imports(file):
            top = item.name.split(".")[0]
            if top in sys.stdlib_module_names or top in {"", "batchchat", "_typeshed"}:
                continue
            if top not in THIRD_PARTIES.get(room, ()):
                yield f"{place(package, file, item.line)} imports {top}, a third party that {room} does not know"


def imports_at_top(package: Path) -> Iterator[str]:
    """Imports are absolute and stand at the top; what is heavy may stand in the function that needs it."""
    for file in files(package):
        room = room_of(package, file)
        for item in imports(file):
            top = item.name.split(".")[0]
            if item.name == ".":
                yield f"{place(package, file, item.line)} imports by a relative path"
            elif item.in_function and room not in LAZY_ROOMS and top not in HEAVY | PLATFORM_MODULES:
                yield f"{place(package, file, item.line)} imports {item.name} inside a function"


def cycles(package: Path) -> Iterator[str]:
    """No file imports itself by way of others, inside functions neither."""
    names = {}
    for file in files(package):
        parts = (package.name, *file.relative_to(package).with_suffix("").parts)
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    edges = {name: sorted({t for i in imports(file) if (t := _module(i, names))}) for name, file in names.items()}
    done: set[str] = set()
    path: list[str] = []

    def walk(name: str) -> Iterator[str]:
        if name in path:
            yield "cycle: " + " > ".join([*path[path.index(name) :], name])
        elif name not in done:
            path.append(name)
            for target in edges[name]:
                yield from walk(target)
            done.add(path.pop())

    for name in sorted(names):
        yield from walk(name)


def _module(item: Import, names: dict[str, Path]) -> str | None:
    """The file that an import runs: a module, or the package that a name is taken from; the front door is none."""
    if item.typing_only:
        return None
    parent = item.name.rpartition(".")[0]
    target = item.name if item.name in names else parent
    return target if target in names and target != "batchchat" else None


def calls(file: Path) -> Iterator[tuple[str, int]]:
    """The dotted name and the line of everything that is called, and of every attribute that is only read."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node), node.lineno
        elif isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno


def prints(package: Path) -> Iterator[str]:
    """Only cli talks to the terminal and ends the process."""
    voices = {"print", "input", "exit", "quit", "SystemExit", "Console"}
    streams = re.compile(r"sys\.(exit|stdin|stdout|stderr)|os\._exit|typer\.\w+|rich\..*")
    for file in files(package):
        if room_of(package, file) in MAY_PRINT:
            continue
        for name, line in calls(file):
            if name in voices or streams.fullmatch(name):
                yield f"{place(package, file, line)} uses {name}: only cli prints and exits"


def environment(package: Path) -> Iterator[str]:
    """Only job reads the environment."""
    for file in files(package):
        if room_of(package, file) in READS_ENVIRONMENT or file.relative_to(package).as_posix() in READS_IT_TOO:
            continue
        for name, line in calls(file):
            if name in {"os.environ", "os.getenv", "getenv"}:
                yield f"{place(package, file, line)} reads {name}: only job reads the environment"


def stated_twice(package: Path) -> Iterator[str]:
    """A default is a name of `defaults`: no number stands as the default of an option or of a job's field."""
    for file in files(package):
        room = room_of(package, file)
        if room not in {"cli", "job"}:
            continue
        for node in ast.walk(tree(file)):
            for value in _default_values(node, room):
                if isinstance(value, ast.Constant) and type(value.value) in {int, float}:
                    yield f"{place(package, file, value.lineno)} states the default {value.value}: name it in defaults"


def _default_values(node: ast.AST, room: str) -> list[ast.expr | None]:
    if room == "cli" and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [*node.args.defaults, *node.args.kw_defaults]
    if room == "cli" and isinstance(node, ast.Call) and ast.unparse(node.func) in {"typer.Option", "typer.Argument"}:
        return [*node.args[:1], *(k.value for k in node.keywords if k.arg == "default")]
    if isinstance(node, ast.ClassDef):
        return [item.value for item in node.body if isinstance(item, ast.AnnAssign)]
    return []


def names(package: Path) -> Iterator[str]:
    """A file is called by the noun that it is about."""
    for file in files(package):
        if DRAWERS & set(file.relative_to(package).with_suffix("").parts):
            yield f"{place(package, file, 1)} is a drawer, not a room"


def sizes(package: Path) -> Iterator[str]:
    """Functions, files and parameter lists stay short."""
    for file in files(package):
        where = file.relative_to(package).as_posix()
        lines = len(file.read_text(encoding="utf-8").splitlines())
        if lines > LONGEST_FILE and where not in LONGER:
            yield f"{where} has {lines} lines"
        for node in ast.walk(tree(file)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or f"{where}:{node.name}" in LONGER:
                continue
            length = node.end_lineno - node.lineno + 1
            if length > LONGEST_FUNCTION:
                yield f"{place(package, file, node.lineno)} {node.name} has {length} lines"
            parameters = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            count = len([a for a in parameters if a.arg not in {"self", "cls"}])
            if count > MOST_PARAMETERS and room_of(package, file) != "cli":  # an option is a parameter there
                yield f"{place(package, file, node.lineno)} {node.name} has {count} parameters"


def reasons(folder: Path) -> Iterator[str]:
    """An exception to a check has its reason beside it."""
    exception = re.compile(r"#\s*(?:noqa|type:\s*ignore)\b(?::\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*|\[[\w, -]+\])?(?P<why>.*)")
    for file in files(folder):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            match = exception.search(line)
            if match and len(match["why"].strip(" #-")) < 3:
                yield f"{place(folder, file, number)} switches a check off without saying why"


RULES: list[Callable[[Path], Iterator[str]]] = [
    floors, third_parties, imports_at_top, cycles, prints, environment, stated_twice, names, sizes, reasons,
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rules(rule):
    """The package has no fault under any rule."""
    faults = list(rule(PACKAGE))
    assert not faults, "\n" + "\n".join(faults)


@pytest.mark.parametrize("folder", ["tests", "benchmarks"])
def test_exceptions_elsewhere_have_their_reason(folder):
    """Tests and benchmarks too say why they switch a check off."""
    assert list(reasons(PROJECT / folder)) == []


LONG_FUNCTION = "def long():\n" + "    pass\n" * 61
WIDE_FUNCTION = "def wide(a, b, c, d, e, f, g, h, i): ...\n"
PLANTED = [
    (floors, "lobby.py", "", "lobby.py:1 has no floor"),
    (floors, "limiter/planted.py", "from batchchat.transport import x\n", "imports transport (floor 6) from 6"),
    (floors, "wire/planted.py", "from batchchat import job\n", "imports job (floor 5) from 4"),
    (floors, "wire/planted.py", "import batchchat.cli.main\n", "imports cli (floor 10) from 4"),
    (floors, "records.py", "if TYPE_CHECKING:\n    from batchchat.job import Job\n", "imports job"),
    (floors, "engine.py", "from batchchat.checkpoint import Journal\n", "which engine must not know"),
    (floors, "serve/planted.py", "from batchchat.wire import encode\n", "imports wire"),
    (floors, "api/planted.py", "from batchchat import run\n", "not the front door"),
    (third_parties, "engine.py", "import aiohttp\n", "imports aiohttp, a third party that engine does not know"),
    (third_parties, "cost/planted.py", "def f():\n    from pandas import x\n", "imports pandas"),
    (imports_at_top, "engine.py", "from . import records\n", "relative path"),
    (imports_at_top, "engine.py", "def f():\n    import json\n", "imports json inside a function"),
    (imports_at_top, "engine.py", "def f():\n    from batchchat.records import Row\n", "inside a function"),
    (cycles, "wire/planted.py", "from batchchat.wire import planted\n", "cycle: batchchat.wire.planted"),
    (cycles, "records.py", "from batchchat.planted import x\n", "batchchat.planted > batchchat.records"),
    (prints, "engine.py", "print('x')\n", "uses print"),
    (prints, "engine.py", "import sys\nsys.exit(1)\n", "uses sys.exit"),
    (prints, "engine.py", "raise SystemExit(1)\n", "uses SystemExit"),
    (prints, "api/planted.py", "import sys\nsys.stderr.write('x')\n", "uses sys.stderr"),
    (environment, "engine.py", "import os\nKEY = os.environ['KEY']\n", "reads os.environ"),
    (environment, "api/planted.py", "from os import getenv\ngetenv('KEY')\n", "reads getenv"),
    (stated_twice, "cli/planted.py", "def run(timeout: float = 600.0): ...\n", "states the default 600.0"),
    (stated_twice, "cli/planted.py", "x = typer.Option(16, '-c')\n", "states the default 16"),
    (stated_twice, "job/planted.py", "class Pool:\n    retries: int = 5\n", "states the default 5"),
    (names, "wire/utils.py", "", "wire/utils.py:1 is a drawer"),
    (names, "common/records.py", "", "is a drawer"),
    (sizes, "engine.py", LONG_FUNCTION, "long has 62 lines"),
    (sizes, "engine.py", WIDE_FUNCTION, "wide has 9 parameters"),
    (sizes, "planted.py", "x = 1\n" * 401, "planted.py has 403 lines"),
    (reasons, "engine.py", "import os  # no" + "qa: F401\n", "without saying why"),
    (reasons, "engine.py", "x = 1  # type: " + "ignore[attr-defined]\n", "without saying why"),
]


@pytest.fixture
def copy(tmp_path):
    """A copy of the package that a test may spoil."""
    target = tmp_path / "batchchat"
    shutil.copytree(PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__"))
    (target / "planted.py").write_text("from batchchat.records import Usage\n")
    return target


@pytest.mark.parametrize(("rule", "file", "text", "fault"), PLANTED)
def test_a_planted_violation_is_found(copy, rule, file, text, fault):
    """Each kind of violation is seen where it is planted, and named."""
    before = list(rule(copy))
    path = copy / file
    path.parent.mkdir(exist_ok=True)
    # Appended: what stands there already is no fault, so that only the planted line can be one.
    path.write_text((path.read_text(encoding="utf-8") if path.exists() else "") + "\n" + text, encoding="utf-8")

    faults = [sentence for sentence in rule(copy) if sentence not in before]

    assert any(fault in sentence for sentence in faults), faults


def test_public_names_are_sorted_and_exactly_those_that_can_be_imported():
    """`batchchat.__all__` is sorted, each name of it is there, and no other public name is."""
    package = importlib.import_module("batchchat")
    listed = getattr(package, "__all__", [])
    assert listed == sorted(listed, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert [name for name in listed if not hasattr(package, name)] == []
    submodules = {room for room in FLOORS if not room.startswith("_")}
    strangers = {name for name in dir(package) if not name.startswith("_")} - set(listed) - submodules - {"annotations"}
    assert strangers == set()


def test_exceptions_are_still_there():
    """What stands in a list of exceptions exists; each has its reason."""
    for where, reason in (LONGER | READS_IT_TOO).items():
        file, _, function = where.partition(":")
        assert (PACKAGE / file).exists(), where
        text = (PACKAGE / file).read_text(encoding="utf-8")
        assert not function or f"def {function}(" in text, where
        assert reason


def test_the_readme_is_short():
    """Whoever opens the README reads it to the end."""
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").splitlines()) <= LONGEST_README

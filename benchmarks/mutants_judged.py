"""One mutant and its tests, in a process of their own: what benchmarks/mutants.py forks for.

`measured` tells which lines each test runs; `judged` imports a mutant in its module's place and says whether a test
noticed. Both end the process that they run in, and are for children only.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.util
import json
import os
import resource
import sys
import threading
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest

PROJECT = Path(__file__).resolve().parents[1]
EXAMPLES = 15
SETTINGS = "_hypothesis_internal_use_settings"  # hypothesis has no other way from outside
TEST_SECONDS = 15
MEMORY = 8 << 30
QUIET = ("-q", "-x", "--no-header", "--tb=line", "-p", "no:cacheprovider", "-p", "no:xdist")
# Plugins of pytest were imported by the process that forked.
QUIET = (*QUIET, "-W", "ignore::pytest.PytestAssertRewriteWarning")
ALIVE, KILLED, UNKNOWN = 0, 1, 9


class Measure:
    """A pytest plugin: the lines of these files that each test runs, its seconds, and whether it failed."""

    def __init__(self, files):
        self.files = {str(PROJECT / file): file for file in files}
        self.found = {}
        self.failed = set()
        self.lines = set()

    def _outer(self, frame, _event, _arg):
        return self._inner if frame.f_code.co_filename in self.files else None

    def _inner(self, frame, _event, _arg):
        self.lines.add((self.files[frame.f_code.co_filename], frame.f_lineno))
        return self._inner

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        forget_caches()
        self.lines, began = set(), time.perf_counter()
        threading.settrace(self._outer)
        sys.settrace(self._outer)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)
            self.found[item.nodeid] = {"seconds": time.perf_counter() - began, "lines": sorted(self.lines)}

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed.add(report.nodeid)


class Choose:
    """A pytest plugin: these tests only, in this order, hypothesis with few examples, the same every time."""

    def __init__(self, tests=None):
        self.order = None if tests is None else {test: place for place, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        if self.order is not None:
            items[:] = sorted((i for i in items if i.nodeid in self.order), key=lambda i: self.order[i.nodeid])
        for item in items:
            test = getattr(item, "obj", None)
            if getattr(test, "is_hypothesis_test", False):
                told = getattr(test, SETTINGS)
                few = hypothesis.settings(told, max_examples=EXAMPLES, derandomize=True, database=None, deadline=None)
                setattr(test, SETTINGS, few)


class Mutant(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from another source than its file's."""

    def __init__(self, path, source):
        self.path, self.source = str(PROJECT / path), source
        parts = Path(path).with_suffix("").parts
        self.name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def find_spec(self, fullname, _path, _target=None):
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def exec_module(self, module):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `x is 5` is a mutant, not a mistake
            code = compile(self.source, self.path, "exec", dont_inherit=True)
        exec(code, module.__dict__)


def forget_caches():
    """What a test reads from a cache that an earlier one filled, it runs itself all the same."""
    for name, module in list(sys.modules.items()):
        if name.startswith("batchchat."):
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


def forget_ours():
    """What was imported from this project is imported again."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if name.split(".")[0] == "batchchat" or file.startswith(str(PROJECT / "tests")):
            del sys.modules[name]


@contextmanager
def silent(log):
    """What is said goes to a file."""
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    kept = os.dup(1), os.dup(2)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.close(said)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)


def preload(tests, log):
    """Import whatever these tests import, but for what is ours."""
    with silent(log):
        pytest.main(["--collect-only", *QUIET, *tests])
    forget_ours()


def measured(tests, files, out, log):
    """Run these tests, and write what each runs."""
    plugin = Measure(files)
    with silent(log):
        pytest.main(["--maxfail=1000", *QUIET[2:], "--timeout=120", *tests], plugins=[plugin, Choose()])
    found = {test: about for test, about in plugin.found.items() if test not in plugin.failed}
    Path(out).write_text(json.dumps({"tests": found, "failed": sorted(plugin.failed)}))


def judged(mutant, tests, log):
    """Whether one of these tests fails with this mutant; never more memory than any of them needs."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.meta_path.insert(0, Mutant(mutant["path"], mutant["source"]))
    files = sorted({test.partition("::")[0] for test in tests})
    with silent(log):
        status = pytest.main([*QUIET, f"--timeout={TEST_SECONDS}", *files], plugins=[Choose(tests)])
    if status == pytest.ExitCode.OK:
        return ALIVE
    known = {pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED, pytest.ExitCode.USAGE_ERROR}
    return KILLED if status in known else UNKNOWN


def statement(source, line):
    """The first and last line of what runs together with this line; None where it runs at import."""
    found, inside = None, False
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.stmt) or not _first(node) <= line <= node.end_lineno:
            continue
        body = getattr(node, "body", None)
        head_ends = max(_first(body[0]) - 1, node.lineno) if body else node.end_lineno
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        inside = inside or (is_function and line > head_ends)
        if found is None or _first(node) >= found[0]:
            found = (_first(node), head_ends if line <= head_ends else node.end_lineno, is_function)
    return found[:2] if found and inside and not found[2] else None


def _first(node):
    return min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])

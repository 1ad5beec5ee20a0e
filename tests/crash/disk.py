"""A disk that loses power: the system calls of a run, replayed onto files of which only what was synced is sure.

In comes the trace of a strace that shows data (`WORDS`); out come, for every moment before a sync, the files that could
be found after the power failed there. What was written and not synced is lost, kept, or kept in part; names that were
made, changed or removed, and whose folder was not synced, are there as far as any number of these steps had got.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

CALLS = "openat,close,pwrite64,write,lseek,ftruncate,fdatasync,fsync,rename,unlink,link,linkat,mkdir"
WORDS = ("strace", "-f", "-qq", "-y", "-xx", "-s", "16777216", "-e", f"trace={CALLS}", "-e", "signal=none")

_LINE = re.compile(r"^(\d+) +(.*)$")
_CALL = re.compile(r"^(\w+)\((.*)\) += (-?\d+)")
_HEX = re.compile(r"\\x([0-9a-f]{2})")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, kw_only=True)
class Call:
    """A system call that succeeded."""

    name: str
    arguments: str
    result: int


def calls(trace):
    """The calls of a trace in the order in which they ended."""
    begun = {}
    with Path(trace).open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            found = _LINE.match(line)
            if not found:
                continue
            thread, text = found.groups()
            if text.endswith("<unfinished ...>"):
                begun[thread] = text.removesuffix("<unfinished ...>").rstrip()
                continue
            if text.startswith("<..."):
                text = begun.pop(thread, "") + text.split("resumed>", 1)[1].lstrip()
            whole = _CALL.match(text)
            if whole and int(whole[3]) >= 0:
                yield Call(name=whole[1], arguments=whole[2], result=int(whole[3]))


@dataclass
class File:
    """A file's content: what is sure, and what was done to it since it was synced."""

    sure: bytes = b""
    since: list = field(default_factory=list)

    def content(self, keep):
        """The content with those of the unsynced changes that `keep` accepts."""
        found = bytearray(self.sure)
        for change in self.since:
            if keep():
                change(found)
        return bytes(found)

    def sync(self):
        self.sure, self.since = self.content(lambda: True), []


class Disk:
    """A folder on a disk, as a replayed run changes it.

    Args:
        folder: the real path, whose files at the beginning are sure; other files do not count.
        mark: a file whose writes are no part of it: they tell what the run believed to be durable.
    """

    def __init__(self, folder, mark):
        self._folder = str(folder)
        self._mark = str(mark)
        self._names = {}
        self._sure_names = {}
        self._steps = []
        self._open = {}
        self._at = {}
        self.marks = []
        for path in Path(folder).iterdir():
            if path.is_file():
                self._names[path.name] = self._sure_names[path.name] = File(sure=path.read_bytes())

    def play(self, trace):
        """Replay a trace; yields before every sync that concerns the folder."""
        for call in calls(trace):
            descriptor = re.match(r"(\d+)<", call.arguments)
            number = int(descriptor[1]) if descriptor else None
            if call.name in {"fdatasync", "fsync"} and number in self._open:
                yield call
                self._sync(number)
            else:
                self._replay(call, number)

    def files(self, draw=None, *, everything=False):
        """The files after a power failure: without what is not sure, with everything, or with a random part of it."""
        names = dict(self._sure_names)
        steps = self._steps if everything else self._steps[: draw.randint(0, len(self._steps))] if draw else []
        for step in steps:
            step(names)

        def keep():
            return everything or (draw is not None and draw.random() < 0.5)

        return {name: file.content(keep) for name, file in names.items()}

    def _sync(self, number):
        file = self._open[number]
        if file is self:
            for step in self._steps:
                step(self._sure_names)
            self._steps = []
        else:
            file.sync()

    def _replay(self, call, number):
        strings = [_decoded(found) for found in _STRING.findall(call.arguments)]
        if call.name == "close":
            self._open.pop(int(re.match(r"\d+", call.arguments)[0]), None)
        elif call.name == "openat":
            self._opened(os.fsdecode(strings[0]), call)
        elif call.name in {"rename", "unlink", "link", "linkat"}:
            self._renamed(call.name, [os.fsdecode(path) for path in strings])
        elif number in self._open and self._open[number] is not self:
            self._changed(call, number, strings)

    def _opened(self, path, call):
        path = str(Path(self._folder, path))
        self._open.pop(call.result, None)
        self._at[call.result] = 0
        if path == self._folder:
            self._open[call.result] = self
        elif path == self._mark:
            self._open[call.result] = None
        elif str(PurePosixPath(path).parent) == self._folder:  # a name of a trace, not of a file that is there
            name = PurePosixPath(path).name
            if name not in self._names:
                self._do(_add(name, File()))
            self._open[call.result] = self._names[name]
            if "O_TRUNC" in call.arguments:
                self._names[name].since.append(_cut(0))

    def _renamed(self, name, paths):
        inside = [Path(path).name for path in paths if str(Path(self._folder, path).parent) == self._folder]
        if len(inside) != len(paths):
            return
        if name == "unlink":
            self._do(_remove(inside[0]))
        elif inside[0] in self._names:
            file = self._names[inside[0]]
            self._do(_add(inside[1], file))
            if name == "rename":
                self._steps.pop()  # one step, not two: a rename is whole or not at all
                self._steps.append(_move(inside[0], inside[1], file))
                self._names.pop(inside[0])

    def _changed(self, call, number, strings):
        file = self._open[number]
        if call.name == "lseek":
            self._at[number] = call.result
            return
        if call.name == "ftruncate":
            file.since.append(_cut(int(call.arguments.rsplit(",", 1)[1])))
            return
        data = strings[0][: call.result]
        if file is None:
            self.marks.append(data.decode())
            return
        at = int(call.arguments.rsplit(",", 1)[1]) if call.name == "pwrite64" else self._at[number]
        self._at[number] = at + len(data)
        file.since.append(_write(at, data))

    def _do(self, step):
        step(self._names)
        self._steps.append(step)


def _decoded(text):
    return bytes.fromhex("".join(_HEX.findall(text)))


def _write(at, data):
    def change(content):
        content.extend(bytes(max(0, at - len(content))))
        content[at : at + len(data)] = data

    return change


def _cut(length):
    def change(content):
        content.extend(bytes(max(0, length - len(content))))
        del content[length:]

    return change


def _add(name, file):
    return lambda names: names.__setitem__(name, file)


def _remove(name):
    return lambda names: names.pop(name, None)


def _move(old, new, file):
    def step(names):
        names.pop(old, None)
        names[new] = file

    return step

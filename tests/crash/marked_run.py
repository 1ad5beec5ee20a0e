"""A run that writes down which rows it was told are durable: a program of its own, to be traced.

python marked_run.py MARKS INPUT OUTPUT URL
"""

from __future__ import annotations

import os
import sys
from collections import deque

from batchchat.api import execute
from batchchat.events import Observer
from batchchat.job import resolve


class Marker(Observer):
    """Writes the numbers of the rows of each commit in one write, when it is told of it."""

    def __init__(self, path):
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._waiting = deque()

    def settled(self, outcome):
        self._waiting.append(outcome.row)

    def committed(self, count):
        rows = [self._waiting.popleft() for _ in range(count)]
        os.write(self._file, (" ".join(map(str, rows)) + " ").encode())


def main():
    marks, source, output, url = sys.argv[1:]
    options = {"output": output, "base_url": url, "model": "sim", "concurrency": 16}
    return execute(resolve(options, input=source), observer=Marker(marks)).status


if __name__ == "__main__":
    sys.exit(main())

"""The Python door: a DataFrame, a Table or a path in, the same kind out.

entry.py     run and arun: the call, the thread or loop that it runs on, interrupts
outlook.py   estimate: what such a call would take
options.py   the options of `run`, by name and type
call.py      one call: what is meant by it, and what it gives or raises
display.py   one place that shows how far it is: in a notebook, at a terminal, in the log
wording.py   messages that name options, as Python writes them

It knows nothing of requests, checkpoints and tables beyond what `api` gives it.
"""

from __future__ import annotations

from batchchat.python.entry import arun, run
from batchchat.python.outlook import Estimate, Range, estimate

__all__ = ["Estimate", "Range", "arun", "estimate", "run"]

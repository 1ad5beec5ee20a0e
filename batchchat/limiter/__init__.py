"""Pacing: the whole quota, and no collision with it.

In comes the wish to send a request with so many tokens; out comes a `Lease` as soon as there are a slot, a request and
tokens, and the endpoint is well. How a request ended comes back through its lease, and is what this room learns from.
It knows no HTTP, no rows and no money.

    Limiter (limiter.py)      the door: who waits, in which order; the only asynchronous part
      Admission               may the next one start, and if not, when? every end of a request
        Pool                  slots
        Quota (Pace, Window)  limits that were told
        Chance                whether refusals come from a limit at all
        Freeze                one pause per episode of refusals
        Breaker               a dead endpoint
        Completions           how many tokens a request takes
        Tally, Bound, Known   what the job is bound by, and what limits are known

All but the door is plain synchronous arithmetic with the clock as a parameter: the simulation in `benchmarks/` drives
the same classes.
"""

from batchchat.limiter.bound import Bound
from batchchat.limiter.lease import Lease
from batchchat.limiter.limiter import Limiter

__all__ = ["Bound", "Lease", "Limiter"]

"""A job as one HTML page: its numbers, and how they are drawn.

In come the stored outcomes, as they are read; out goes a text that needs nothing else: no script, no font, no picture
from anywhere, and everything that a model or a table said is escaped. This room opens no table and writes no file.

    numbers.py   counts, percentiles and rates, in one pass and in memory that does not grow with the job
    chart.py     bars over time, as SVG
    page.py      the page
    style.py     its style sheet, light and dark
"""

from __future__ import annotations

from batchchat.report.numbers import READ, Numbers
from batchchat.report.page import Facts, Sampled, page

__all__ = ["READ", "Facts", "Numbers", "Sampled", "page"]

"""Choose the sentences of `jobs/data/reviews.csv`.

In: the source distribution of the PyPI package vaderSentiment (`pip download --no-deps --no-binary vaderSentiment
vaderSentiment`), which carries an archive of sentences with the mean of at least 20 people's ratings, from -4 to 4.
Out: the table. The same archive always gives the same bytes: the order is that of a hash, not of a random generator.

    python benchmarks/select_reviews.py vaderSentiment-3.3.2.tar.gz jobs/data/reviews.csv

The rule is stated in `jobs/README.md`; the constants below are the rule.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# The archive's file of each source, and how many sentences of either label are taken from it.
# Editorials are seldom rated as clearly as the others: there are fewer to choose from.
SOURCES = {
    "film": ("movieReviewSnippets_GroundTruth.txt", 60),
    "product": ("amazonReviewSnippets_GroundTruth.txt", 60),
    "tweet": ("tweets_GroundTruth.txt", 60),
    "editorial": ("nytEditorialSnippets_GroundTruth.txt", 20),
}
CLEAR = 2.0  # a mean rating this far from 0 is clear
LENGTH = range(30, 161)
# What a demo need not print: markup, addresses, people's names on a network, and words that some would rather not read.
MARKUP = re.compile(r"[<>@#&_]|http|www")
UNWELCOME = re.compile(
    r"shit|\b(fuck|bitch|ass|damn|hell\b|crap|sex|porn|hentai|rape|kill|nazi|suicide|slut|whore|dick|piss|wtf|gay|fag"
    r"|retard|cancer|leukemia|funeral|die\b|idiots?\b|jesus|christ\b|god|cock\b|arab|terroris|saddam|dead\b|shagg|women|ugly)",
    re.IGNORECASE,
)
ENDING = 12  # sentences with the same last letters are variants of one another; the first one stands for them
INNER_ARCHIVE = "hutto_ICWSM_2014.tar.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One rated sentence. `rating` is the archive's mean, rounded to two digits."""

    id: str
    source: str
    sentence: str
    rating: float

    @property
    def label(self) -> str:
        return "positive" if self.rating > 0 else "negative"

    @property
    def clear(self) -> bool:
        return abs(self.rating) >= CLEAR

    @property
    def fit(self) -> bool:
        return len(self.sentence) in LENGTH and not MARKUP.search(self.sentence) and not UNWELCOME.search(self.sentence)

    @property
    def ending(self) -> str:
        return re.sub("[^a-z]", "", self.sentence.lower())[-ENDING:]


def drawn(sentences: Iterable[Sentence], salt: str) -> list[Sentence]:
    """In an order as good as random, and the same on every machine."""
    return sorted(sentences, key=lambda s: hashlib.sha256(f"{salt} {s.source} {s.id}".encode()).digest())


def sentences(archive: Path) -> Iterator[Sentence]:
    """All sentences of the archive inside the archive."""
    with tarfile.open(archive) as outer:
        inner = next(member for member in outer if member.name.endswith(INNER_ARCHIVE))
        payload = outer.extractfile(inner).read()
    with tarfile.open(fileobj=io.BytesIO(payload)) as texts:
        members = {Path(member.name).name: member for member in texts}
        for source, (name, _) in SOURCES.items():
            text = texts.extractfile(members[name]).read().decode("utf-8-sig")
            for line in text.splitlines():
                number, rating, sentence = line.split("\t")
                yield Sentence(id=number, source=source, sentence=sentence.strip(), rating=round(float(rating), 2))


def chosen(candidates: Iterable[Sentence]) -> list[Sentence]:
    """Clear, fit sentences, as many of either label from each source, shuffled."""
    distinct: dict[str, Sentence] = {}
    for s in drawn((s for s in candidates if s.clear and s.fit), "draw"):
        distinct.setdefault(s.ending, s)
    picked = []
    for source, (_, count) in SOURCES.items():
        for label in ("positive", "negative"):
            picked += [s for s in distinct.values() if (s.source, s.label) == (source, label)][:count]
    return drawn(picked, "shuffle")


def main(archive: str, table: str) -> None:
    rows = chosen(sentences(Path(archive)))
    with Path(table).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "source", "sentence", "rating", "label"])
        writer.writerows([f"{s.source}-{s.id}", s.source, s.sentence, f"{s.rating:.2f}", s.label] for s in rows)
    print(f"{len(rows)} sentences: {table}")


if __name__ == "__main__":
    main(*sys.argv[1:])

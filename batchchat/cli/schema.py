"""The JSON Schema of job files, for editors; `python -m batchchat.cli.schema > docs/job.schema.json` writes it."""

from __future__ import annotations

import json

from batchchat.cli import stream


def schema() -> str:
    """The schema as JSON text."""
    from batchchat.job.described import json_schema

    facts = {"$schema": "https://json-schema.org/draft/2020-12/schema", **json_schema()}
    return json.dumps({**facts, "title": "A batchchat job file"}, indent=2, ensure_ascii=False)


if __name__ == "__main__":
    stream.emit(schema())

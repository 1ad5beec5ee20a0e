"""The simulator: an endpoint that answers at once, always the same, and fails exactly as it is told to.

What comes in: chat completion requests, and settings (`settings.py`). What goes out: completions that are a function of
the request and the seed (`words.py`), rate limits (`limits.py`), faults by share, by prompt (`rules.py`) or by script
(`script.py`), and its own counts (`tally.py`). Pages beside the API:

| page | |
| --- | --- |
| `GET /sim/stats` | the counts; with `?prompts=1` also by prompt |
| `POST /sim/reset` | zeroes the counts, empties the script; a JSON object changes settings, the others stay |
| `POST /sim/script` | a list of replies that come first |
| `GET /sim/requests` | the last requests (setting `record`), without secrets |

It knows nothing of the client, and shares no code with it.
"""

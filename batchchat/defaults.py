"""Every default, once, as plain constants, so that `--help` needs nothing heavy."""

from __future__ import annotations

PROMPT_COLUMN = "prompt"
BASE_URL = "https://api.openai.com/v1"
API_KEY_ENV = "OPENAI_API_KEY"
LOCAL_MODEL = "local"

# The pool. 600 s is the official client's timeout; API.md section 5.
CONCURRENCY = 16
MAX_CONCURRENCY = 4096
TIMEOUT = 600.0
CONNECT_TIMEOUT = 10.0
MAX_RETRIES = 5
MAX_OUTAGE = 600.0
MAX_RETRY_AFTER = 600.0
BACKOFF_FIRST = 0.5
BACKOFF_LONGEST = 30.0

# Pacing: the burst is one request or this many seconds of the allowance.
BURST_SECONDS = 0.2

# Stopping: how long requests in flight are waited for after a signal, and when refusals are called hopeless.
DRAIN_SECONDS = 20.0
HOPELESS_AT_START = 20
HOPELESS_LATER = 200
FORBIDDEN_IN_A_ROW = 5

# The checkpoint: a group is at most this many outcomes or bytes, and groups are at least this far apart.
COMMIT_ROWS = 500
COMMIT_BYTES = 4 << 20
COMMIT_SECONDS = 0.010

# Tables: rows and bytes in one batch, and how much of a text table is checked before the first request.
BATCH_ROWS = 1024
BATCH_BYTES = 8 << 20
CHECK_BYTES = 1 << 30

# Images that rows name: the largest one (20 MB is what endpoints take), and how many bytes of them, in every form that
# they have on their way, may be in memory at a time.
MAX_IMAGE_MB = 20.0
IMAGE_BYTES = 256 << 20

# Money: above this expected cost a terminal is asked.
ASK_ABOVE_USD = 10

# What `serve` serves, and where.
SERVED_MODEL = "sim"
SERVE_HOST = "127.0.0.1"
SERVE_PORT = 8000

# Where `demo` writes its files.
DEMO_FOLDER = "batchchat-demo"

# How many answers of a new job are shown as they come.
FIRST_SHOWN = 3

# How many rows `rows` shows at a terminal where nobody says.
ROWS_SHOWN = 20

# How many differing rows `compare` shows.
CHANGED_SHOWN = 10

# After so long a run it is told what it was bound by.
BOUND_AFTER_SECONDS = 10

# How long a notice of a job's end may take.
NOTICE_SECONDS = 10.0

CHECKPOINT_SUFFIX = ".batchchat"

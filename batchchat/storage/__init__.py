"""Where files lie: this machine's disks, or remote storage (`s3://`, `gs://`, ... by pyarrow; others by fsspec).

In comes a path as it was typed; out come open files, listings, and `Publication`, a file that appears whole or not at
all. This room does not know what is in the files.
"""

from batchchat.storage.places import (
    Stamp,
    absolute,
    file_name,
    has_pattern,
    inside,
    is_file,
    is_folder,
    is_remote,
    list_folder,
    make_folder,
    match,
    open_arrow,
    open_input,
    remove,
    same_file,
    sha256,
    stamp,
    why_not_writable,
)
from batchchat.storage.publication import Publication, writing

__all__ = [
    "Publication",
    "Stamp",
    "absolute",
    "file_name",
    "has_pattern",
    "inside",
    "is_file",
    "is_folder",
    "is_remote",
    "list_folder",
    "make_folder",
    "match",
    "open_arrow",
    "open_input",
    "remove",
    "same_file",
    "sha256",
    "stamp",
    "why_not_writable",
    "writing",
]

"""Rows in: CSV, TSV, JSONL and Parquet files, folders of them, here or on remote storage, a batch at a time.

In comes a path; out come `records.Batch`es of the columns that are asked for, with row numbers from 1. The room knows
nothing of prompts or results. Beside the rows as values, each file (`FileDataset.parts`) gives them as `output` needs
them: text records with their own bytes, or Arrow batches.

A DataFrame or a Table in memory (`open_memory`) is such a table too, of one part without a file.

Nothing here grows with the table but one mark (a row, a byte, a line) for each batch of text.
"""

from batchchat.dataset.memory import MemoryDataset, is_frame, is_table, open_memory
from batchchat.dataset.table import Dataset, FileDataset, open_dataset

__all__ = [
    "Dataset",
    "FileDataset",
    "MemoryDataset",
    "is_frame",
    "is_table",
    "open_dataset",
    "open_memory",
]

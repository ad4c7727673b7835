"""Data: sources of samples, loaders, sampling orders, splits, and data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thalweg.data import augment
from thalweg.data.audio_files import AudioFiles, AudioFolder, read_audio, resample
from thalweg.data.batches import Batches, batches, check_finite, split
from thalweg.data.builtin import load_digits
from thalweg.data.catalog import list_datasets, load
from thalweg.data.dataset import (
    ArrayDataset,
    Dataset,
    Source,
    Subset,
    Transformed,
    as_dataset,
    read_all,
)
from thalweg.data.features import Pipeline, default_pipeline
from thalweg.data.image_files import ImageFiles, ImageFolder, ImageTable, read_image
from thalweg.data.loader import Loader
from thalweg.data.mapped import ArrayWriter, MappedDataset, map_array
from thalweg.data.sampling import (
    bucketed,
    class_balanced,
    sequential,
    shuffled,
    sliced,
    weighted,
)
from thalweg.data.sequences import SequenceDataset
from thalweg.data.series import WindowDataset, find_gaps
from thalweg.data.splitting import (
    check_leaks,
    group_split,
    k_fold,
    random_split,
    split_dataset,
    stratified_split,
    time_folds,
    time_split,
)
from thalweg.data.table_blocks import TableBlocks
from thalweg.data.tables import Table, read_table
from thalweg.data.text_files import TextLines, read_text
from thalweg.data.tokens import TokenDataset, write_tokens

__all__ = [
    "DATASETS", "ArrayDataset", "ArrayWriter", "AudioFiles", "AudioFolder", "Batches", "Dataset",
    "ImageFiles", "ImageFolder", "ImageTable", "Loader", "MappedDataset", "Pipeline",
    "SequenceDataset", "Source", "Subset",
    "Table", "TableBlocks", "TextLines", "TokenDataset", "Transformed", "WindowDataset",
    "as_dataset", "augment",
    "batches", "bucketed", "check_finite", "check_leaks", "class_balanced",
    "default_pipeline", "find_gaps",
    "group_split", "k_fold", "list_datasets", "load", "load_digits", "map_array", "random_split",
    "read_all", "read_audio", "read_image", "read_table", "read_text", "resample", "sequential",
    "shuffled", "sliced", "split", "split_dataset", "stratified_split", "time_folds", "time_split",
    "weighted", "write_tokens",
]  # fmt: skip

# Those that come with the package; ``list_datasets()`` tells all that have a name.
DATASETS: dict[str, Callable[[Any], tuple[Any, ...]]] = {"digits": load_digits}

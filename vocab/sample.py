"""A few documents of a language, for figures; reading a corpus in earnest is the pipeline's work."""

from __future__ import annotations

import json
from itertools import islice

_DOCUMENTS = 500


def sample_documents(corpora: tuple[str, ...], text_field: str = "text", count: int = _DOCUMENTS) -> list[str]:
    """The first documents of the first corpus that can be read (text, JSON lines, Parquet); none where none can."""
    for url in corpora:
        try:
            if documents := _read(url, text_field, count):
                return documents
        except (OSError, ValueError, ImportError, LookupError):
            continue
    return []


def _read(url: str, text_field: str, count: int) -> list[str]:
    import fsspec
    import pyarrow.parquet as pq

    if url.endswith(".parquet"):
        with fsspec.open_files(url, "rb")[0] as stream:
            batches = pq.ParquetFile(stream).iter_batches(count, columns=[text_field])
            return [text for text in next(batches).column(0).to_pylist() if text]
    with fsspec.open_files(url, "rt", encoding="utf-8", errors="replace", compression="infer")[0] as stream:
        lines = [line for line in map(str.strip, islice(stream, count)) if line]
    if ".json" in url.rsplit("/", 1)[-1]:
        return [str(json.loads(line)[text_field]) for line in lines]
    return lines

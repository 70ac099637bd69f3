"""The shard job: extents → documents → shard number by hash → tokenize, pack, one Parquet file a shard.

One GroupByKey does both sharding and de-duplication, since equal documents have equal hashes. Counts and
failures travel as small files, so the job has one output chain and runs on every Beam runner.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from pipeline.clean import clean, document_id, is_heldout, shard_of
from pipeline.corpus import CorpusFile, Extent, content_identity, find_files, parquet_file, split_extents
from pipeline.pack import Packer, make_packer, sequence_id
from pipeline.records import decompressed, read_records
from pipeline.runner import build_pipeline, run_and_wait
from pipeline.sequences import VERSION, SequenceManifest, read_sequence_manifest, write_sequences
from recipe import CorpusError, MergeDistillError, Recipe, Source, StaleError, Workdir, fingerprint, shard_name
from vocab.load import load_tokenizer

_HELDOUT = -1
_SAMPLED_FILES = 16
_SAMPLED_BYTES = 1 << 18


@dataclass(frozen=True)
class ShardSummary:
    """What one run of the job made for one source, or found made."""

    source: Source
    manifest: SequenceManifest
    seconds: float | None

    def __str__(self) -> str:
        m = self.manifest
        if self.seconds is None:
            return f"{self.source}: up to date, {m.shards} shards"
        return (
            f"{self.source}: {m.sequences:,} sequences, {m.tokens:,} tokens in {m.shards} shards, "
            f"{m.heldout_sequences:,} sequences held out; documents: {m.read:,} read = {m.used:,} used + "
            f"{m.duplicates:,} duplicates + {m.filtered:,} filtered + {m.quarantined:,} quarantined; "
            f"{self.seconds:.0f} s"
        )


def shard(
    recipe: Recipe, workdir: Workdir, source: Source, runner: str, beam_args: list[str], force: bool = False
) -> ShardSummary:
    """Make the sequence shards of one source, unless they are there.

    Raises CorpusError for corpora that are missing or damaged, StaleError where sequences of other text or
    settings are in the way and `force` is off.
    """
    started = time.monotonic()
    folder = workdir.sequences(source)
    files = find_files(recipe.languages[source.language].corpora)
    identities = [content_identity(file) for file in files]
    prints = {
        "corpora": fingerprint(identities),
        "settings": fingerprint({**recipe.sequences.model_dump(), "version": VERSION}),
        "tokenizer": _tokenizer(recipe.model_dump_json(), source.teacher)[2],
    }
    existing = read_sequence_manifest(workdir, source)
    if existing and not force:
        if existing.fingerprints != prints:
            changed = [name for name, value in prints.items() if existing.fingerprints.get(name) != value]
            raise StaleError(
                f"{workdir.path(folder)}: was made with other {' and '.join(changed)} than the recipe now says; "
                f"to make it again: python -m pipeline shard RECIPE --lang {source.language} "
                f"--teacher {source.teacher} --force"
            )
        sizes = {name: size for name, size in _listing(workdir, source).items() if name in existing.files}
        if sizes == existing.files:
            return ShardSummary(source, existing, None)

    workdir.remove(folder)
    workdir.remove(_quarantine(source))
    extents = [
        extent for file in files for extent in split_extents(file, whole=recipe.sequences.documents == "blank-line")
    ]
    shards = _number_of_shards(recipe, source, files)
    pipeline = build_pipeline(runner, beam_args, recipe)
    _ = (
        pipeline
        | "Extents" >> beam.Create(list(enumerate(extents)))
        | beam.Reshuffle()
        | "Read and clean" >> beam.ParDo(ReadExtent(recipe, workdir, source, shards))
        | "Shard and de-duplicate" >> beam.GroupByKey()
        | "Tokenize, pack, write" >> beam.ParDo(WriteShard(recipe, workdir, source, shards))
    )
    try:
        run_and_wait(pipeline)
        manifest = _fold(recipe, workdir, source, prints, identities, len(extents), shards)
    except BaseException:
        workdir.remove(folder)
        raise
    manifest.write(workdir, source)
    workdir.remove(f"{folder}/counts")
    return ShardSummary(source, manifest, time.monotonic() - started)


class ReadExtent(beam.DoFn):
    """(number, extent) → (shard number, (document id, text)); quarantine and counts go to files of that number."""

    def __init__(self, recipe: Recipe, workdir: Workdir, source: Source, shards: int) -> None:
        self._settings, self._workdir, self._source, self._shards = recipe.sequences, workdir, source, shards

    def process(self, element: tuple[int, Extent]) -> Iterator[tuple[int, tuple[int, str]]]:
        number, extent = element
        counts: dict[str, Any] = {"read": 0, "filtered": 0, "quarantined": 0}
        rejected = []
        try:
            for record in read_records(extent, self._settings):
                counts["read"] += 1
                if record.text is None:
                    counts["quarantined"] += 1
                    rejected.append({"file": extent.file.url, **record._asdict()})
                    continue
                text = clean(record.text)
                if len(text) < self._settings.min_chars:
                    counts["filtered"] += 1
                    continue
                document = document_id(text)
                heldout = is_heldout(document, self._settings.heldout)
                yield (_HELDOUT if heldout else shard_of(document, self._shards)), (document, text)
        except MergeDistillError as error:
            counts["error"] = str(error)
        if rejected:
            self._workdir.write_jsonl(f"{_quarantine(self._source)}/extent-{number:05d}.jsonl", rejected)
        self._workdir.write_json(f"{self._workdir.sequences(self._source)}/counts/extent-{number:05d}.json", counts)


class WriteShard(beam.DoFn):
    """(shard number, documents) → one Parquet file, the same bytes in whatever order the documents arrive."""

    def __init__(self, recipe: Recipe, workdir: Workdir, source: Source, shards: int) -> None:
        self._recipe_json, self._settings = recipe.model_dump_json(), recipe.sequences
        self._workdir, self._source, self._shards = workdir, source, shards

    def process(self, element: tuple[int, Iterable[tuple[int, str]]]) -> Iterator[int]:
        number, group = element
        documents = list(group)
        unique = sorted(dict(documents).items())
        heldout = number == _HELDOUT
        limit = self._settings.heldout_max if heldout else None
        rows = _pack(unique, self._recipe_json, self._source.teacher)[:limit]
        name = shard_name(0, 1) if heldout else shard_name(number, self._shards)
        folder = self._workdir.sequences(self._source, heldout)
        metadata = {"teacher": self._source.teacher, "language": self._source.language}
        size = write_sequences(self._workdir, f"{folder}/{name}", rows, metadata)
        counts = {
            "heldout": heldout,
            "used": len(unique),
            "duplicates": len(documents) - len(unique),
            "sequences": len(rows),
            "tokens": sum(len(row[2]) for row in rows),
            "file": f"heldout/{name}" if heldout else name,
            "bytes": size,
        }
        self._workdir.write_json(f"{self._workdir.sequences(self._source)}/counts/shard-{number:05d}.json", counts)
        yield number


def _pack(documents: list[tuple[int, str]], recipe_json: str, teacher: str) -> list[tuple[int, int, list[int]]]:
    """(document id, text) → (sequence id, document id, ids) of every window."""
    backend, packer, _ = _tokenizer(recipe_json, teacher)
    encodings = backend.encode_batch_fast([text for _, text in documents], add_special_tokens=False)
    return [
        (sequence_id(document, number), document, window)
        for (document, _), encoding in zip(documents, encodings, strict=True)
        for number, window in enumerate(packer.windows(encoding.ids))
    ]


@functools.lru_cache(maxsize=2)
def _tokenizer(recipe_json: str, teacher: str) -> tuple[Any, Packer, str]:
    """A teacher's backend tokenizer without truncation or padding, its packer, and its fingerprint."""
    from vocab.build import tokenizer_fingerprint

    recipe = Recipe.model_validate_json(recipe_json)
    tokenizer = load_tokenizer(teacher, recipe.teachers[teacher])
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return backend, make_packer(teacher, tokenizer, recipe.sequences.max_length), tokenizer_fingerprint(tokenizer)


def _number_of_shards(recipe: Recipe, source: Source, files: list[CorpusFile]) -> int:
    """Shards of about `shard_size` sequences, from the beginnings of a few evenly spaced files."""
    step = max(1, len(files) // _SAMPLED_FILES)
    read = sequences = 0
    for file in files[::step]:
        consumed, documents = _head(file, recipe)
        read += consumed
        sequences += len(_pack(list(documents.items()), recipe.model_dump_json(), source.teacher))
    expected = sequences / max(read, 1) * sum(file.size for file in files) * (1.0 - recipe.sequences.heldout)
    return max(1, round(expected / recipe.sequences.shard_size))


def _head(file: CorpusFile, recipe: Recipe) -> tuple[int, dict[int, str]]:
    """Bytes of a file (as stored) that its first documents take, and those documents."""
    extents = split_extents(file, whole=True)
    documents: dict[int, str] = {}
    room = _SAMPLED_BYTES
    try:
        for record in read_records(extents[0], recipe.sequences):
            text = clean(record.text or "")
            room -= len(text.encode())
            if len(text) >= recipe.sequences.min_chars:
                documents[document_id(text)] = text
            if room <= 0:
                break
        decoded = _SAMPLED_BYTES - room
        if file.kind == "parquet":
            with parquet_file(file) as parquet:
                rows = max(parquet.metadata.num_rows, 1)
            return round(file.size * min(1.0, max(len(documents), 1) / rows)), documents
        if file.compression is None:
            return min(decoded, file.size), documents
        stored: list[int] = []
        unpacked = 0
        for chunk in decompressed(file, consumed=stored.append):
            unpacked += len(chunk)
            if unpacked >= _SAMPLED_BYTES:
                break
        return round(min(decoded, unpacked) * sum(stored) / max(unpacked, 1)), documents
    except CorpusError:
        return file.size, documents  # the job itself will name what is wrong with the file


def _fold(
    recipe: Recipe,
    workdir: Workdir,
    source: Source,
    prints: dict[str, str],
    corpora: list[dict[str, Any]],
    extents: int,
    shards: int,
) -> SequenceManifest:
    """Sum the count files into a manifest; raise the first failure among them; write shards that got no document."""
    folder = workdir.sequences(source)
    counts = {name: workdir.read_json(f"{folder}/counts/{name}") for name in sorted(workdir.sizes(f"{folder}/counts"))}
    failures = [record["error"] for record in counts.values() if "error" in record]
    if failures:
        raise CorpusError(failures[0])
    read = [record for name, record in counts.items() if name.startswith("extent")]
    made = [record for name, record in counts.items() if name.startswith("shard")]
    if len(read) != extents:
        raise MergeDistillError(
            f"{source}: {extents - len(read)} of {extents} extents were not read; run the job again"
        )
    taught = [record for record in made if not record["heldout"]]
    heldout = [record for record in made if record["heldout"]]
    if not sum(record["sequences"] for record in taught):
        raise CorpusError(
            f"languages.{source.language}.corpora: no document of {sum(r['read'] for r in read):,} can be used; see "
            f"{workdir.path(_quarantine(source))} and sequences.min_chars"
        )
    written = {record["file"]: record["bytes"] for record in made}
    for number in range(shards):
        name = shard_name(number, shards)
        if name not in written:
            written[name] = write_sequences(workdir, f"{folder}/{name}", [], {})
    sequences = sum(record["sequences"] for record in taught)
    tokens = sum(record["tokens"] for record in taught)
    return SequenceManifest(
        fingerprint=fingerprint(prints),
        fingerprints=prints,
        corpora=corpora,
        shards=shards,
        heldout_shards=1 if heldout and heldout[0]["sequences"] else 0,
        read=sum(record["read"] for record in read),
        used=sum(record["used"] for record in made),
        duplicates=sum(record["duplicates"] for record in made),
        filtered=sum(record["filtered"] for record in read),
        quarantined=sum(record["quarantined"] for record in read),
        heldout_documents=sum(record["used"] for record in heldout),
        sequences=sequences,
        tokens=tokens,
        heldout_sequences=sum(record["sequences"] for record in heldout),
        padding_share=1.0 - tokens / (sequences * recipe.sequences.max_length),
        files=dict(sorted(written.items())),
    )


def _listing(workdir: Workdir, source: Source) -> dict[str, int]:
    heldout = workdir.sizes(workdir.sequences(source, heldout=True))
    return {**workdir.sizes(workdir.sequences(source)), **{f"heldout/{name}": size for name, size in heldout.items()}}


def _quarantine(source: Source) -> str:
    return f"quarantine/shard/{source.language}/{source.teacher}"

"""Vectors from files into a column: for texts that they were made of, by the column's own recipe, and no others."""

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import Embeddings, EncodedBatch
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.preparation import find_preparation
from steam_assets.errors import SteamAssetsError
from steam_assets.exports.manifest import Origin
from steam_assets.exports.vector_files import VectorFile, check_vectors
from steam_assets.id_range import EVERYTHING
from steam_assets.store.adopt import ADOPTION_SAMPLE
from steam_assets.store.export_rows import VectorPage
from steam_assets.store.import_vectors import JudgedRow, judge_rows, texts_of
from steam_assets.store.runs import EmbeddingRun, add_note
from steam_assets.store.server import check_rights, check_writable
from steam_assets.store.write import write_batches
from steam_assets.targets import ADOPTION_COSINE, follow_target, model_to_fill, target_run
from steam_assets.upkeep import clear_the_way

Fate = Literal["fresh", "embedded", "changed", "blank"]


class OtherVectors(SteamAssetsError):
    """Vectors of another model, recipe or text than the column's."""


@dataclass(frozen=True)
class ImportReport:
    """What became of a file's rows: rows = written + embedded + changed + blank + unknown.

    ``embedded`` rows had a vector of this run and text already and keep it; of ``changed`` ones the text is another
    than the file's, and they stay pending; ``unknown`` ids are not in the table. ``lowest_cosine`` is that of
    ``sampled`` rows encoded again, where the file does not say what made it.
    """

    file: str
    column: str
    run_id: int
    model_name: str
    rows: int
    written: int
    embedded: int
    changed: int
    blank: int
    unknown: int
    sampled: int
    lowest_cosine: float | None


class Agreement(NamedTuple):
    """How near the vectors of a file are to ours, where rows of it were encoded again."""

    sampled: int
    lowest_cosine: float | None


def import_vectors(
    connect: Callable[[], connection],
    column: TextColumn,
    file: VectorFile,
    load: Callable[[Model], Encoder],
    progress: Callable[[int], None] = lambda rows: None,
    drop_index: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> ImportReport:
    """Write a file's vectors to the rows whose text they were made of, as vectors of the column's target run.

    The file is read to its end before anything is written. Where it does not say what made it, a sample is encoded
    again first; where it has no digests, the present texts are taken for those of the file then. Raises BadExport for a
    file that is not sound, OtherVectors where the vectors are another recipe's; ``progress`` is told rows. ``log`` is
    told what an index on the vectors will cost, which ``drop_index`` has dropped first, and how to build it again.
    """
    with closing(connect()) as reader, closing(connect()) as writer:
        reader.autocommit = True
        run = target_run(reader, column)
        check_writable(reader)
        check_rights(reader, column)
        check_recipe(file, column, run)
        check_vectors(file, column)
        fates: Counter[Fate | Literal["unknown"]] = Counter()
        rows = _Rows(reader, column, run, file)
        agreement = Agreement(0, None) if is_known(file.origin) else rows.agreement(load)
        dropped = clear_the_way(writer, column, run.run_id, drop_index, log, limit=file.rows)
        batches = _noting(reader, run.run_id, _note(file, column, agreement), rows.batches(fates, progress))
        counts = write_batches(writer, column, run.run_id, EVERYTHING, batches)
        with writer:
            follow_target(writer, column)
    if dropped:
        log(f"{column}: searches compare every row by now. `steam-assets index build {column}` builds an index again.")
    return ImportReport(
        *(file.label, str(column), run.run_id, run.model_name, file.rows, counts.written),
        *(fates["embedded"], fates["changed"] + counts.changed, fates["blank"], fates["unknown"] + counts.gone),
        *agreement,
    )


def is_known(origin: Origin | None) -> bool:
    """Whether the file says by what recipe its vectors were made."""
    return origin is not None and origin.recipe is not None


def check_recipe(file: VectorFile, column: TextColumn, run: EmbeddingRun) -> None:
    """Raise OtherVectors unless the file's vectors are of the run's dimension and, where that is known, its recipe."""
    if file.dimension != run.dimension:
        raise OtherVectors(
            f"{file.label} holds vectors of {file.dimension} numbers; {column} is filled with {run.model_name}, "
            f"{run.dimension} numbers. Add an entry with a vector column of its own to steam_assets/columns.py, and "
            "run `steam-assets init`."
        )
    if file.origin is None or not is_known(file.origin):
        return
    theirs = {**(file.origin.recipe or {}), "model": file.origin.model_name, "normalized": file.origin.normalized}
    ours = {**(run.recipe or {}), "model": run.model_name, "normalized": run.normalized}
    if differing := [key for key in sorted({*theirs, *ours}) if theirs.get(key) != ours.get(key)]:
        told = "; ".join(f"{key} {theirs.get(key)!r}, expected {ours.get(key)!r}" for key in differing)
        if "model" in differing:
            way = f"`steam-assets embed {column} --model {file.origin.model_name}` makes the file's model the column's."
        else:
            way = (
                f"For the file's {' and '.join(differing)}, add an entry with a vector column of its own to "
                "steam_assets/columns.py, and run `steam-assets init`."
            )
        raise OtherVectors(
            f"{file.label} was made by another recipe than {column} is filled with (run {run.run_id}): {told}. "
            f"Nothing was written. {way}"
        )


class _Rows:
    """A file's rows beside those of the table."""

    def __init__(self, reader: connection, column: TextColumn, run: EmbeddingRun, file: VectorFile) -> None:
        self._reader = reader
        self._column = column
        self._run = run
        self._file = file

    def batches(
        self, fates: Counter[Fate | Literal["unknown"]], progress: Callable[[int], None]
    ) -> Iterator[EncodedBatch]:
        """What is to be written; the others are counted in ``fates``."""
        for page in self._file.pages(self._column):
            found = self._judged(page)
            fates["unknown"] += len(page) - len(found)
            fates.update(fate for fate, _ in found)
            if fresh := [row for fate, row in found if fate == "fresh"]:
                yield EncodedBatch(
                    Embeddings(
                        ids=[page.ids[row.index] for row in fresh],
                        row_versions=[row.row_version for row in fresh],
                        source_md5=[row.source_md5 for row in fresh],
                        vectors=page.vectors[[row.index for row in fresh]],
                    )
                )
            progress(len(page))

    def agreement(self, load: Callable[[Model], Encoder]) -> Agreement:
        """How near vectors of the file are to what the target's model makes of the rows' texts; raises OtherVectors."""
        # By the order of a hash: as good as random, and the same rows each time.
        sample = heapq.nsmallest(ADOPTION_SAMPLE, self._candidates(), lambda found: _hash(found[0]))
        texts = texts_of(self._reader, self._column, [id_ for id_, _ in sample])
        prepare = find_preparation(self._column.preparation).prepare
        pairs = [(prepare(texts[id_]), vector) for id_, vector in sample if id_ in texts]
        if not pairs:
            return Agreement(0, None)
        encoded = load(model_to_fill(self._run, self._column)).encode([text for text, _ in pairs])
        stored = np.array([vector for _, vector in pairs])
        lowest = float(np.sum(encoded * stored, axis=1).min())
        if lowest < ADOPTION_COSINE:
            raise OtherVectors(
                f"{self._file.label} does not hold the vectors of {self._column}: of {len(pairs):,} rows that "
                f"{self._run.model_name} encoded again, the lowest cosine is {lowest:.6f}; expected at least "
                f"{ADOPTION_COSINE}. They were made by another model, or of other texts (the published CSV files lack "
                f"about_the_game). Nothing was written; `steam-assets embed {self._column}` makes them anew."
            )
        return Agreement(len(pairs), lowest)

    def _candidates(self) -> Iterator[tuple[int | str, NDArray[np.float32]]]:
        for page in self._file.pages(self._column):
            for fate, row in self._judged(page):
                if fate == "fresh":
                    yield page.ids[row.index], page.vectors[row.index].copy()

    def _judged(self, page: VectorPage) -> list[tuple[Fate, JudgedRow]]:
        found = judge_rows(self._reader, self._column, self._run.run_id, page.ids)
        return [(_fate(row, None if page.source_md5 is None else page.source_md5[row.index]), row) for row in found]


def _fate(row: JudgedRow, made_of: bytes | None) -> Fate:
    if row.state == "blank":
        return "blank"
    if made_of not in (None, row.source_md5):
        return "changed"
    return "embedded" if row.state == "embedded" else "fresh"


def _hash(id_: int | str) -> bytes:
    return hashlib.blake2b(str(id_).encode(), digest_size=16).digest()


def _noting(conn: connection, run_id: int, note: str, batches: Iterator[EncodedBatch]) -> Iterator[EncodedBatch]:
    """The same batches, the note being there before the first: by it searches know that a projection lacks rows."""
    for number, batch in enumerate(batches):
        if number == 0:
            add_note(conn, run_id, note)
        yield batch


def _note(file: VectorFile, column: TextColumn, agreement: Agreement) -> str:
    note = f"{column}: rows loaded from {file.label}"
    if agreement.lowest_cosine is None:
        return note
    return f"{note}; {agreement.sampled} encoded again, lowest cosine {agreement.lowest_cosine:.6f}"

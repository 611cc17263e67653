"""Variants of an index on real rows with MiniLM, and on synthetic rows of the effective rank that those have.

`python -m steam_assets_tests.benchmarks.indexes --json indexes.json --plot indexes.png`; two cores are busy for some
twenty minutes with 100,000 rows of 1,024 numbers.
"""

import argparse
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import TextColumn
from steam_assets.embeddings import Embeddings
from steam_assets.encoder.loading import EncoderSettings, load_encoder
from steam_assets.encoder.models import DEMO_MODEL, find_model
from steam_assets.indexes.measure import EF_SEARCH, Bench, MeasureOptions, measure_variant, open_bench
from steam_assets.indexes.neighbours import exact_neighbours
from steam_assets.indexes.plot import plot_variants
from steam_assets.indexes.recommend import HEADER, figure_cells
from steam_assets.store.runs import EmbeddingRun, find_or_create_run, get_run
from steam_assets.store.schema import apply_schema, plan_schema
from steam_assets.store.states import names
from steam_assets.store.variant_records import EXACT, VariantFigures
from steam_assets.store.variants import VARIANTS, find_variant
from steam_assets.store.write import chunk_names, copy_embeddings, prepare_temp_table
from steam_assets_tests.benchmarks.corpus import NAMES, REAL_ROWS, read_corpora
from steam_assets_tests.benchmarks.machine import describe_machine, load_warning, machine_lines
from steam_assets_tests.benchmarks.report import markdown_table, write_rows
from steam_assets_tests.benchmarks.scratch import Connect, scratch_database, server_settings
from steam_assets_tests.benchmarks.synthetic import Mixture, effective_rank, spectrum
from steam_assets_tests.benchmarks.targets import Target, compared, targets_table

MODULE = "steam_assets_tests.benchmarks.indexes"
VECTORS = TextColumn(table="vectors", id="id", text="body", vector="vector", run="run_id")
PREDECESSOR = "predecessor"
PREDECESSOR_M, PREDECESSOR_EF_CONSTRUCTION, PREDECESSOR_EF_SEARCH = 16, 64, 40
MINILM_RANK = 183.0
"""Where there are no real rows to measure it on: that of 12,478 reviews; 5,858 applications have 194 (2026-11)."""
EVERY_EF_SEARCH = 1.01  # no recall ends the list
RECALLS = {"halfvec": 0.99, "bit": 0.95, "pca": 0.99}
SIZES = {1024: {"halfvec": 0.36, "bit": 0.10}, 384: {"halfvec": 0.60, "bit": 0.20}}
WARM_ROWS, WARM_MS = 100_000, 10.0

INSERT = sql.SQL("""
    INSERT INTO {table} ({id}, {text}, {vector}, {run})
    SELECT new.id, '', new.embedding, {run_id}
    FROM pg_temp.{new} AS new
""")

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class IndexRow(VariantFigures):
    """Figures of a variant on a corpus; the ratio is of queries/s of one client, whatever the recall."""

    name: str = ""
    corpus: str = ""
    ratio_to_predecessor: float | None = None
    bytes_to_predecessor: float | None = None


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the corpora, print tables and targets, write the JSON and a plot of the last corpus."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parse(given)
    machine = describe_machine(None)
    print(machine_lines(machine))
    if warning := load_warning(machine):
        print(warning, file=sys.stderr)
    rank = MINILM_RANK
    rows: list[IndexRow] = []
    verdicts: list[Target] = []
    shapes: dict[str, dict[str, float]] = {}
    with scratch_database() as connect:
        for name in options.real:
            vectors = real_vectors(name, options.cache)
            corpus = f"{name}, MiniLM"
            shapes[corpus] = shape_of(vectors)
            rank = shapes[corpus]["effective_rank"]
            rows += measure(connect, corpus, [vectors], vectors.shape[1])
            verdicts += targets(corpus, rows, is_real=True)
        if options.rows:
            corpus = f"synthetic, {options.rows:,} x {options.dimension}"
            mixture = Mixture(options.rows, options.dimension, options.rank or rank)
            shapes[corpus] = shape_of(next(mixture.pages()))
            rows += measure(connect, corpus, mixture.pages(), options.dimension)
            verdicts += targets(corpus, rows, is_real=False)
        with closing(connect()) as conn:
            server = server_settings(conn)
    print(f"\n{shapes_table(shapes)}\n\n{targets_table(verdicts)}")
    if options.json is not None:
        others = {"server": server, "shapes": shapes, "targets": [asdict(target) for target in verdicts]}
        write_rows(options.json, machine, f"python -m {MODULE} {shlex.join(given)}".strip(), rows, others)
    if options.plot is not None and rows:
        last = rows[-1].corpus
        options.plot.write_bytes(
            plot_variants(last, [row for row in rows if row.corpus == last and row.name != PREDECESSOR])
        )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=(__doc__ or "").partition("\n")[0])
    real = NAMES if REAL_ROWS.exists() else ()
    parser.add_argument("--real", nargs="*", choices=NAMES, default=real, help="corpora of real rows")
    parser.add_argument("--rows", type=int, default=WARM_ROWS, help="synthetic ones; 0 for none")
    parser.add_argument("--dimension", type=int, default=1024, help="of the synthetic ones")
    parser.add_argument("--rank", type=float, help="effective, of the synthetic ones; else as measured on real rows")
    parser.add_argument("--cache", type=Path, metavar="DIRECTORY", help="keep the real rows' vectors there")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, metavar="PNG")
    return parser.parse_args(arguments)


def real_vectors(name: str, cache: Path | None) -> Floats:
    """MiniLM's vectors of a corpus, float32 (rows, 384); encoded on the CPU unless the cache has them."""
    file = None if cache is None else cache / f"{name}.npy"
    if file is not None and file.exists():
        kept: Floats = np.load(file, allow_pickle=False)
        return kept
    (corpus,) = read_corpora([name])
    say(f"{name}: encoding {len(corpus):,} texts ({corpus.source})")
    vectors: Floats = load_encoder(find_model(DEMO_MODEL), EncoderSettings(device="cpu")).encode(corpus.texts)
    if file is not None:
        np.save(file, vectors)
    return vectors


def shape_of(vectors: Floats) -> dict[str, float]:
    """What makes a corpus easy or hard to index: effective rank, and how near the 10th nearest of 10,000 rows is."""
    rows = vectors[:10_000]
    tenth = exact_neighbours([rows[200:]], rows[:200], 10).cosines[:, -1]
    return {"effective_rank": effective_rank(spectrum(vectors)), "cosine_of_tenth": float(np.median(tenth))}


def measure(connect: Connect, corpus: str, pages: Iterable[Floats], dimension: int) -> list[IndexRow]:
    """Every variant at every ef_search, and the predecessor's default; printed."""
    with closing(connect()) as conn:
        run = fill(conn, pages, dimension)
        options = MeasureOptions(sample=None, recall=EVERY_EF_SEARCH, ef_search=EF_SEARCH)
        with open_bench(connect, VECTORS, run, options, say) as bench:
            found = [bench.exactly()]
            for variant in VARIANTS:
                found += measure_variant(bench, variant, options, say)
            predecessor = as_predecessor(found) or measure_predecessor(bench, options)
        with conn, conn.cursor() as cursor:
            cursor.execute(sql.SQL("DROP TABLE {table}").format(**names(VECTORS)))
    cells = figure_cells([*found, predecessor])
    cells[-1] = (PREDECESSOR, *cells[-1][1:])
    print(f"\n{corpus}, {found[0].rows:,} rows\n{markdown_table(HEADER, cells)}")
    return [
        index_row(predecessor, corpus, predecessor, PREDECESSOR),
        *(index_row(row, corpus, predecessor) for row in found),
    ]


def as_predecessor(found: Sequence[VariantFigures]) -> VariantFigures | None:
    """The row that is built and asked as the predecessor's default; None where ours is built otherwise."""
    wanted = ("vector", PREDECESSOR_M, PREDECESSOR_EF_CONSTRUCTION, PREDECESSOR_EF_SEARCH)
    return next((row for row in found if (row.variant, row.m, row.ef_construction, row.ef_search) == wanted), None)


def measure_predecessor(bench: Bench, options: MeasureOptions) -> VariantFigures:
    """An index of the predecessor's default on the same copy."""
    theirs = replace(
        options, m=PREDECESSOR_M, ef_construction=PREDECESSOR_EF_CONSTRUCTION, ef_search=[PREDECESSOR_EF_SEARCH]
    )
    (row,) = measure_variant(bench, find_variant("vector"), theirs, say)
    return row


def index_row(figures: VariantFigures, corpus: str, predecessor: VariantFigures, name: str | None = None) -> IndexRow:
    """A row of the JSON."""
    ours = figures.variant if figures.variant == EXACT else f"ours {figures.variant}, ef_search {figures.ef_search}"
    return IndexRow(
        **asdict(figures),
        name=name or ours,
        corpus=corpus,
        ratio_to_predecessor=figures.queries_per_s / predecessor.queries_per_s,
        bytes_to_predecessor=figures.bytes / predecessor.bytes if figures.bytes else None,
    )


def fill(conn: connection, pages: Iterable[Floats], dimension: int) -> EmbeddingRun:
    """A table with these vectors and a run of them."""
    with conn, conn.cursor() as cursor:
        cursor.execute(sql.SQL("CREATE TABLE {table} ({id} bigint PRIMARY KEY, {text} text)").format(**names(VECTORS)))
        apply_schema(conn, plan_schema(conn, [VECTORS], dimension))
        run_id = find_or_create_run(conn, "made-up", dimension, True, {})
    prepare_temp_table(conn, VECTORS)
    rows = 0
    for page in pages:
        for vectors in np.array_split(page, max(1, len(page) // 2_000)):
            ids = range(rows, rows + len(vectors))
            embeddings = Embeddings(ids, [0] * len(ids), [bytes(16)] * len(ids), np.ascontiguousarray(vectors))
            with conn, conn.cursor() as cursor:
                copy_embeddings(conn, VECTORS, [embeddings])
                cursor.execute(INSERT.format(**chunk_names(VECTORS), run_id=sql.Literal(run_id)))
            rows += len(ids)
    with conn:
        return get_run(conn, run_id)


def targets(corpus: str, rows: Sequence[IndexRow], is_real: bool) -> Iterator[Target]:
    """The targets of issue 6, each at the smallest ef_search that meets its recall, else at the largest."""
    of_corpus = [row for row in rows if row.corpus == corpus]
    dimension = of_corpus[0].dimension
    for name, least in RECALLS.items():
        ours = [row for row in of_corpus if row.name.startswith("ours") and row.variant == name]
        row = next((row for row in ours if row.recall_10 >= least), ours[-1])
        what = f"{name}: recall@10 >= {least}, at ef_search {row.ef_search}"
        yield compared("real rows", corpus, what, row.recall_10, is_real, least=least, form=".4f")
        warm = row.rows >= 0.99 * WARM_ROWS
        what = f"{name}: p95 < {WARM_MS:.0f} ms on {WARM_ROWS:,} rows"
        yield compared("anywhere", corpus, what, row.ms_p95, warm, most=WARM_MS)
        if (most := SIZES.get(dimension, {}).get(name)) is not None:
            what = f"{name}: bytes <= {most:.2f} of vector's, {dimension} numbers"
            yield compared("anywhere", corpus, what, row.bytes_to_predecessor, most=most)


def shapes_table(shapes: dict[str, dict[str, float]]) -> str:
    """Effective ranks and how near neighbours are."""
    header = ("corpus", "effective rank", "median cosine of the 10th nearest")
    return markdown_table(
        header, [(name, f"{s['effective_rank']:.0f}", f"{s['cosine_of_tenth']:.3f}") for name, s in shapes.items()]
    )


def say(line: str) -> None:
    """How far it is."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

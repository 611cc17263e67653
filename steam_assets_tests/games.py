"""Four store pages and their reviews for searches, with vectors made from a hash: a text is near to itself only."""

from collections.abc import Mapping, Sequence

from psycopg2 import sql
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, REVIEWS, TextColumn
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.models import Model
from steam_assets.encoder.preparation import find_preparation
from steam_assets.store.hnsw import index_name
from steam_assets.store.states import names
from steam_assets.store.variants import find_variant
from steam_assets.targets import choose_first_model
from steam_assets_tests.hash_encoder import hash_encoder
from steam_assets_tests.rows import execute, fetch

GENRES = {"Action": 1, "Indie": 2, "Simulation": 3, "Massively Multiplayer": 4, "Strategy": 5}
AUDIO = "<br><strong>*</strong>languages with full audio support"

PAGE = """
    INSERT INTO applications (appid, name, type, release_date, is_free, mat_final_price, supported_languages,
                              short_description)
    VALUES (%(appid)s, %(name)s, %(type)s, %(date)s, %(is_free)s, %(price)s, %(languages)s, %(text)s)
"""
REVIEW = """
    INSERT INTO reviews (recommendationid, appid, language, voted_up, review_text)
    VALUES (%(id)s, %(appid)s, %(language)s, %(voted_up)s, %(text)s)
"""
PAGES: Sequence[tuple[int, str, str, str | None, bool, int | None, str | None, str, Sequence[str]]] = (
    (
        *(10, "Lantern Valley", "game", "2016-03-01", False, 1499),
        *(f"English<strong>*</strong>, French, Simplified Chinese{AUDIO}", "Plant <b>turnips</b> with friends."),
        ("Indie", "Simulation"),
    ),
    (
        *(20, "Ward Nine", "game", "2021-10-31", True, None),
        *("English", "A night in an abandoned hospital."),
        ("Action", "Massively Multiplayer"),
    ),
    (
        *(30, "Iron Tracks", "game", "2014-05-05", False, 999),
        *("English, German, Spanish - Spain", "Lay tracks and run locomotives."),
        ("Simulation", "Strategy"),
    ),
    (*(40, "Lantern Valley Soundtrack", "music", None, False, None), *(None, "Forty songs of the valley."), ()),
)
REVIEWED: Sequence[tuple[str, int, str, bool, str]] = (
    ("r1", 10, "english", True, "I planted carrots all weekend."),
    ("r2", 10, "french", True, "Très reposant."),
    ("r3", 10, "english", False, "Too many turnips."),
    ("r4", 10, "english", True, "My sister loves the chickens."),
    ("r5", 20, "english", True, "I screamed at every door."),
    ("r6", 30, "german", True, "Die Züge fahren pünktlich."),
    ("r7", 30, "english", False, "Signals are hard."),
    ("r8", 40, "schinese", True, "音乐很好听"),
)


def add_games(conn: connection) -> None:
    """The pages, their genres and reviews; nothing is embedded."""
    for genre, number in GENRES.items():
        execute(conn, "INSERT INTO genres (id, name) VALUES (%(id)s, %(name)s)", id=number, name=genre)
    for *values, genres in PAGES:
        keys = ("appid", "name", "type", "date", "is_free", "price", "languages", "text")
        execute(conn, PAGE, **dict(zip(keys, values, strict=True)))
        for genre in genres:
            linked = "INSERT INTO application_genres (appid, genre_id) VALUES (%(appid)s, %(genre)s)"
            execute(conn, linked, appid=values[0], genre=GENRES[genre])
    for review in REVIEWED:
        execute(conn, REVIEW, **dict(zip(("id", "appid", "language", "voted_up", "text"), review, strict=True)))


def fill(conn: connection, column: TextColumn, model: Model, encoder: Encoder | None = None) -> int:
    """Give every row of the column its vector of the model's run, which serves; the run's id."""
    encoder = encoder or hash_encoder(model)
    with conn:
        run_id = choose_first_model(conn, column, model).run_id
    prepare = find_preparation(column.preparation).prepare
    rows = fetch(conn, sql.SQL("SELECT {id}::text, {text} FROM {table}").format(**names(column)))
    vectors = encoder.encode([prepare(str(text)) for _, text in rows])
    set_vector = sql.SQL("""
        UPDATE {table}
        SET {vector} = %(vector)s, {run} = %(run_id)s, {digest} = md5({text})::uuid
        WHERE {id}::text = %(id)s
    """).format(**names(column))
    for (id_, _), vector in zip(rows, vectors, strict=True):
        execute(conn, set_vector, vector=str(vector.tolist()), run_id=run_id, id=id_)
    return run_id


def text_of(conn: connection, column: TextColumn, row_id: str) -> str:
    """What the model reads of a row: its own vector's only neighbour."""
    query = sql.SQL("SELECT {text} FROM {table} WHERE {id}::text = {wanted}")
    ((text,),) = fetch(conn, query.format(**names(column), wanted=sql.Literal(row_id)))
    return find_preparation(column.preparation).prepare(str(text))


def fill_games(conn: connection, model: Model) -> Mapping[TextColumn, int]:
    """The games and their reviews with vectors; the run that each column serves."""
    add_games(conn)
    return {column: fill(conn, column, model) for column in (APPLICATIONS, REVIEWS)}


def add_index(
    conn: connection,
    column: TextColumn,
    run_id: int,
    dimension: int,
    variant_name: str = "halfvec",
    ef_search: int = 40,
) -> None:
    """An HNSW index of one run with its record, as `steam-assets index build` leaves them."""
    variant = find_variant(variant_name)
    create = sql.SQL("CREATE INDEX {index} ON {table} USING hnsw ({key} {operator_class}) WHERE {run} = {run_id}")
    execute(
        conn,
        create.format(
            **names(column),
            index=sql.Identifier(index_name(column, variant)),
            key=variant.key(names(column)["vector"], dimension),
            operator_class=sql.SQL(variant.operator_class),
            run_id=sql.Literal(run_id),
        ),
    )
    record = """
        INSERT INTO embedding_indexes (table_name, vector_column, variant, run_id, index_name, m, ef_construction,
                                       ef_search, recall, rows, bytes, seconds)
        VALUES (%(table)s, %(vector)s, %(variant)s, %(run_id)s, %(name)s, 16, 64, %(ef_search)s, 1, 0, 0, 0)
    """
    execute(
        conn,
        record,
        table=column.qualified_table,
        vector=column.vector,
        variant=variant.name,
        run_id=run_id,
        name=index_name(column, variant),
        ef_search=ef_search,
    )

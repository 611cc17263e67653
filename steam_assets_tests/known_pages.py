"""Store pages with short and long descriptions to make known items of, and their vectors in the column."""

from collections.abc import Sequence

import numpy as np
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, TextColumn
from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.preparation import find_preparation
from steam_assets.store.runs import set_serving, set_target
from steam_assets.targets import choose_first_model, run_of_model
from steam_assets_tests.rows import execute, fetch

FILLER = "There are many hours of it to enjoy, alone or together with others, and in any order that anybody may like."

# A name, a short description and what the long one says beyond it.
PAGES = (
    ("Turnip Valley", "Turnip Valley is a cozy village life with chickens.", "Grow vegetables, milk cows, sell eggs."),
    ("Ward 13", "Survive one night inside Ward 13, an abandoned hospital.", "Ghosts of patients walk the corridors."),
    ("Rails VI", "Connect growing cities in Rails 6 with tracks and signals.", "Schedule locomotives, carry freight."),
    ("Drakensang", "Hunt dragons with sword and spell in a medieval realm.", "Knights and wizards slay winged beasts."),
    ("Neon Drift", "Race tuned cars through glowing streets after midnight.", "Nitro, tyres and turbo engines roar."),
    ("Star Ledger", "Command a fleet and trade between distant planets.", "Starships carry ore across the galaxy."),
)


def add_pages(conn: connection, pages: Sequence[tuple[str | None, str | None, str | None]]) -> None:
    """Pages with these names, short and long descriptions; ids 10, 20, 30, ..."""
    with conn, conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO applications (appid, name, short_description, about_the_game) VALUES (%s, %s, %s, %s)",
            [(10 * number, *page) for number, page in enumerate(pages, start=1)],
        )


def add_known_pages(conn: connection) -> None:
    """The pages of PAGES; a long description repeats the short one, in bold, says more, and is filled up."""
    add_pages(conn, [(name, short, f"<p><b>{short}</b></p> {more} {FILLER}") for name, short, more in PAGES])


def serve_vectors(conn: connection, encoder: Encoder, column: TextColumn = APPLICATIONS) -> int:
    """Vectors of every row of the column with text, by this encoder, for the run that searches read; that run's id."""
    with conn:
        run_id = choose_first_model(conn, column, encoder.model).run_id
    write_vectors(conn, encoder, run_id)
    return run_id


def serve_another_run(conn: connection, encoder: Encoder) -> int:
    """Let searches of the applications read another run, of the same model under another recipe; that run's id."""
    with conn:
        run_id = run_of_model(conn, APPLICATIONS, encoder.model)
        set_target(conn, APPLICATIONS, run_id)
        set_serving(conn, APPLICATIONS, run_id)
    return run_id


def write_vectors(conn: connection, encoder: Encoder, run_id: int) -> None:
    """Vectors of the applications for a run."""
    rows = fetch(conn, "SELECT appid, combined_text FROM applications WHERE btrim(combined_text) <> '' ORDER BY appid")
    prepare = find_preparation(APPLICATIONS.preparation).prepare
    vectors = encoder.encode([prepare(str(text)) for _, text in rows])
    for (appid, _), vector in zip(rows, np.asarray(vectors), strict=True):
        execute(
            conn,
            "UPDATE applications SET description_embedding = %(vector)s, embedding_run_id = %(run)s, "
            "description_embedding_source_md5 = md5(combined_text)::uuid WHERE appid = %(appid)s",
            vector=str(vector.tolist()),
            run=run_id,
            appid=appid,
        )

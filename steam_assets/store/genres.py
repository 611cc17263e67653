"""Genres that pages name, into genres and application_genres, beside those of published files. Pages are load.py's.

A name that no published file has brought gets an id from FIRST_OWN_ID on, and gives it up for the published one.
"""

from collections.abc import Mapping, Sequence

from psycopg2 import sql
from psycopg2.extensions import connection
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from steam_assets.store.values import BadValue, converter

KEY = "genres"
FIRST_OWN_ID = 1_000_000_001
"""Published ids are small: the next number behind them may be published one day, for another genre."""
ADDING = "steam_assets genres"

# A database of the predecessor may lack these tables, or the key that says which entry is new, and a user the right to
# them: pages load there all the same.
TAKES = """
    SELECT count(*) = 2
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public'
      AND has_table_privilege(c.oid, 'SELECT')
      AND has_table_privilege(c.oid, 'INSERT')
      AND (c.relname = 'genres' OR c.relname = 'application_genres' AND EXISTS (
          SELECT
          FROM pg_index AS x
          WHERE x.indrelid = c.oid
            AND x.indisunique
            AND x.indisvalid
            AND x.indpred IS NULL
            AND (SELECT array_agg(a.attname::text ORDER BY a.attname)
                 FROM pg_attribute AS a
                 WHERE a.attrelid = c.oid
                   AND a.attnum = ANY (x.indkey[0:x.indnkeyatts - 1])) = ARRAY['appid', 'genre_id']))
"""

UNKNOWN = """
    SELECT count(*)
    FROM unnest(%(names)s::text[]) AS page (name)
    WHERE NOT EXISTS (SELECT FROM public.genres AS known WHERE known.name = page.name)
"""

ADD_NAMES = """
    INSERT INTO public.genres (id, name)
    SELECT greatest(%(first)s - 1, (SELECT max(id) FROM public.genres))
           + row_number() OVER (ORDER BY page.name COLLATE "C"),
           page.name
    FROM unnest(%(names)s::text[]) AS page (name)
    WHERE NOT EXISTS (SELECT FROM public.genres AS known WHERE known.name = page.name)
"""

# None is taken away: a file of pages says as little about the others as a file of application_genres does.
ADD_TO_PAGES = """
    INSERT INTO public.application_genres (appid, genre_id)
    SELECT page.appid, genre.id
    FROM unnest(%(appids)s::bigint[], %(names)s::text[]) AS page (appid, name)
    JOIN public.genres AS genre ON genre.name = page.name
    ORDER BY page.appid, genre.id
    ON CONFLICT (appid, genre_id) DO NOTHING
"""

# A name is there once, so ours is given another before the published row comes.
STEP_ASIDE = sql.SQL("""
    UPDATE public.genres AS own
    SET name = 'gives way: ' || own.id
    FROM {staging} AS new
    WHERE own.name = new.name
      AND own.id >= {first}
      AND own.id <> new.id
    RETURNING own.id, new.id
""")

HAND_OVER = """
    INSERT INTO public.application_genres (appid, genre_id)
    SELECT link.appid, moved.published
    FROM public.application_genres AS link
    JOIN unnest(%(own)s::bigint[], %(published)s::bigint[]) AS moved (own, published) ON moved.own = link.genre_id
    ON CONFLICT (appid, genre_id) DO NOTHING
"""

LEAVE = "DELETE FROM public.genres WHERE id = ANY (%(own)s::bigint[])"


def takes_genres(conn: connection) -> bool:
    """Whether this database has the tables, and this user may add to them. Leaves the transaction open."""
    with conn.cursor() as cursor:
        cursor.execute(TAKES)
        return cursor.fetchone() == (True,)


def genre_names(value: object) -> tuple[str, ...]:
    """The names in a JSON list, each once, written exactly so; raises BadValue for anything else."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise BadValue("is no list of names")
    check = converter("text")
    assert check is not None
    return tuple(dict.fromkeys(check(name) for name in value if name.strip()))


def add_genres(cursor: Cursor, genres_of: Mapping[int, Sequence[str]]) -> int:
    """Give pages the genres they name, in the caller's transaction; return how many they had not."""
    pairs = [(appid, name) for appid, found in genres_of.items() for name in found]
    if not pairs:
        return 0
    names = list(dict.fromkeys(name for _, name in pairs))
    cursor.execute(UNKNOWN, {"names": names})
    if cursor.fetchone() != (0,):
        # Two loads at once would give one number to two names.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (ADDING,))
        cursor.execute(ADD_NAMES, {"names": names, "first": FIRST_OWN_ID})
    cursor.execute(ADD_TO_PAGES, {"appids": [appid for appid, _ in pairs], "names": [name for _, name in pairs]})
    return cursor.rowcount


def step_aside(cursor: Cursor, staging: sql.Composable) -> list[tuple[int, int]]:
    """Take their names from genres of ours that staged rows bring with published ids; pairs of own and published id."""
    cursor.execute(STEP_ASIDE.format(staging=staging, first=sql.Literal(FIRST_OWN_ID)))
    return cursor.fetchall()


def hand_over(cursor: Cursor, moved: Sequence[tuple[int, int]]) -> None:
    """Give the pages of genres that stepped aside to the published ones, which are there now, and delete the former."""
    if not moved:
        return
    own, published = (list(ids) for ids in zip(*moved, strict=True))
    cursor.execute(HAND_OVER, {"own": own, "published": published})
    cursor.execute(LEAVE, {"own": own})

"""The search API over HTTP: what it answers, whom, and in which words it refuses."""

import logging
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import anyio
import pytest
from psycopg2.extensions import connection

from steam_assets.columns import APPLICATIONS, COLUMNS, REVIEWS
from steam_assets.encoder.models import Model
from steam_assets.indexes.build import Wanted, build_measured_index
from steam_assets.search import Searcher
from steam_assets.service.app import Turns
from steam_assets.service.door import host_of
from steam_assets.service.problems import Busy
from steam_assets.service.search_service import SearchService
from steam_assets.store import embedded
from steam_assets.store.database import connect, embedded_database, find_database
from steam_assets.store.embedded import EmbeddedServer
from steam_assets.store.schema import apply_schema, plan_schema
from steam_assets_tests.dagster_home import OPINIONS, fill_tables_for
from steam_assets_tests.databases import execute_on, new_database, wait_until
from steam_assets_tests.hash_encoder import hash_encoder
from steam_assets_tests.rows import Connect, execute, table_digest
from steam_assets_tests.search_server import Answer, SearchServer, embed_by_hash, search_server
from steam_assets_tests.servers import kill_server
from steam_assets_tests.web_api import wait_for

GAME_10 = "Game 1 A frightening night in an abandoned hospital where something follows you."
REVIEW_3 = "素晴らしいゲームです 3 of 10"
END_CONNECTIONS = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{}'"
UNUSUAL = "my private question about nothing"


REFUSALS: tuple[tuple[dict[str, object], int, str], ...] = (
    ({}, 422, "Give either q, words to search for, or like"),
    ({"q": "a", "like": "10"}, 422, "Give either q"),
    ({"q": " "}, 422, "blank; expected some words"),
    ({"q": "a", "k": 0}, 422, "k is '0': it should be greater than or equal to 1."),
    ({"q": "a", "k": 10_000_000}, 422, "k is '10000000': it should be less than or equal to 1000."),
    ({"q": "a", "k": "many"}, 422, "k is 'many': "),
    ({"q": "a", "hybrid": "perhaps"}, 422, "hybrid is 'perhaps': "),
    ({"q": "a", "other": "b" * 100}, 422, f"other is '{'b' * 59}...: "),
    ({"q": "a", "in": "author_steamid"}, 404, f"is called 'author_steamid'; expected {APPLICATIONS} or {REVIEWS}"),
    ({"like": "10", "in": "applications", "hybrid": 1}, 422, "hybrid needs q"),
    ({"like": "11", "in": "applications"}, 404, "has no row '11' with a vector"),
    ({"like": "'; --", "in": "applications"}, 404, "has no row"),
    ({"like": "9" * 40, "in": "applications"}, 404, "has no row"),
    ({"q": "a", "in": "applications", "where": "'; DROP TABLE reviews; --"}, 422, "this quote has no end"),
    ({"q": "a", "in": "applications", "where": "appid = 10"}, 422, "appid"),
    ({"q": "a", "in": "applications", "where": "(" * 2_000}, 422, "more than 50 parentheses"),
    ({"q": "a", "where": "x" * 2_001}, 414, "where is 'xxx"),
    ({"q": "a" * 10_001}, 414, "q is 'aaa"),
    ({"q": "\N{GRINNING FACE}" * 10_000 + "a" * 50_000}, 414, "The question is too long; expected at most 150,000"),
)
PATHS = (
    ("/", "GET", 200),
    ("/", "HEAD", 200),
    ("/page/search.js", "GET", 200),
    ("/page/search.css", "HEAD", 200),
    ("/healthz", "HEAD", 200),
    ("/api/search?q=a&k=1", "HEAD", 200),
    ("/openapi.json", "GET", 200),
    ("/docs", "GET", 404),
    ("/redoc", "GET", 404),
    ("/nowhere", "GET", 404),
    ("/api/search/", "GET", 404),
    ("/page/../app.py", "GET", 404),
    ("/page/%2e%2e/app.py", "GET", 404),
    ("/page/%2e%2e%2f%2e%2e%2fcolumns.py", "GET", 404),
    ("/page/", "GET", 404),
    ("/api/search?q=a", "POST", 405),
    ("/api/search?q=a", "DELETE", 405),
    ("/", "OPTIONS", 405),
)
ASKED_FROM: tuple[tuple[dict[str, str], int], ...] = (
    ({"Host": "localhost"}, 200),
    ({"Host": "LOCALHOST:1"}, 200),
    ({"Host": "[::1]:8000"}, 200),
    ({"Host": "evil.example"}, 400),
    ({"Host": "127.0.0.1.evil.example:8000"}, 400),
    ({"Host": ""}, 400),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "same-origin"}, 200),
)


@contextmanager
def service_over(url: str) -> Iterator[SearchServer]:
    """The service over a database, warmed up."""
    service = SearchService(find_database(url), hash_encoder)
    service.warm_up()
    with search_server(service) as running:
        yield running


@pytest.fixture(scope="module")
def read_url(server: EmbeddedServer, schema_template: str, minilm: Model) -> Iterator[str]:
    """A database of 24 games and 24 reviews of the first of them, for tests that only read."""
    with new_database(server, schema_template) as url:
        with closing(connect(find_database(url))) as conn:
            fill_tables_for(conn, minilm)
            embed_by_hash(conn, minilm)
        yield url


@pytest.fixture(scope="module")
def searches(read_url: str) -> Iterator[SearchServer]:
    """The service over it."""
    with service_over(read_url) as running:
        yield running


@pytest.fixture
def own_searches(tables: connection, minilm: Model, database_url: str) -> Iterator[SearchServer]:
    """The service over such a database of the test's own."""
    embed_by_hash(tables, minilm)
    with service_over(database_url) as running:
        yield running


def test_a_search_answers_every_column_that_serves(searches: SearchServer, read_url: str) -> None:
    """As JSON with the very results of the Python API; the row with that text comes first."""
    answer = searches.search(q=GAME_10, k=3)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    results = answer.json["results"]
    assert [result["column"] for result in results] == [str(APPLICATIONS), str(REVIEWS)]
    assert results[0]["hits"][0]["id"] == "10"
    assert results[0]["hits"][0]["cosine"] == pytest.approx(1, abs=1e-5)

    own = Searcher(lambda: connect(find_database(read_url)), hash_encoder)
    expected = [asdict(result) for result in own.search(GAME_10, k=3)]
    for result in (*results, *expected):
        result.pop("seconds")
    assert results == expected


def test_the_column_the_number_of_hits_and_the_filter_are_chosen(searches: SearchServer) -> None:
    """By its table's name or its own; reviews come with their game."""
    for name in ("reviews", "reviews.review_embedding", "review_embedding"):
        (result,) = searches.search(q=REVIEW_3, k=1, in_=name).json["results"]
        assert result["column"] == str(REVIEWS)
    assert result["hits"][0]["id"] == "3"
    assert result["hits"][0]["group"] == {"id": "10", "name": "Game 1"}

    (result,) = searches.search(q=GAME_10, k=1000, in_="applications", where="year >= 2015", exact="true").json[
        "results"
    ]
    assert result["hits"] == []


def test_rows_like_another_are_found_without_it(searches: SearchServer) -> None:
    """By the vector that it has; of the first column where none is named."""
    for place in ({"in": "applications"}, {}):
        (result,) = searches.search(like="10", k=1000, **place).json["results"]
        ids = [hit["id"] for hit in result["hits"]]
        assert len(ids) == 23
        assert "10" not in ids


def test_a_question_that_cannot_be_answered_is_refused_in_words(searches: SearchServer, read_url: str) -> None:
    """With the status that says whose fault it is; nothing is changed by it, and no traceback is shown."""
    with closing(connect(find_database(read_url))) as conn:
        before = [table_digest(conn, column) for column in COLUMNS]
        for question, status, message in REFUSALS:
            answer = searches.search(**question)
            assert (answer.status, message in answer.error) == (status, True), (question, answer.body)
            assert "Traceback" not in answer.error
        assert [table_digest(conn, column) for column in COLUMNS] == before
    assert searches.search(q=GAME_10, k=1).status == 200


def test_texts_of_any_kind_are_searched_for_or_refused(searches: SearchServer) -> None:
    """Never an error of ours."""
    for text in ("\0", "a\0b", "😀" * 10_000, "%00%ff", "\ud7ff", "<script>", "' OR 1=1", "\x1b[2J", "a" * 10_000):
        for more in ({}, {"hybrid": "true"}):
            assert searches.search(q=text, k=1, **more).status in (200, 422), text


def test_a_column_that_serves_nothing_yet_is_a_conflict(own_searches: SearchServer, tables: connection) -> None:
    """409 with what to run, as soon as that is so."""
    execute(tables, "UPDATE embedding_columns SET serving_run_id = NULL")
    answer = own_searches.search(q="a")
    assert answer.status == 409
    assert "Run `steam-assets init`" in answer.error
    assert own_searches.search(q="a", in_="reviews").status == 409


def test_a_column_that_is_only_being_filled_is_not_searched_though_it_is_named(
    own_searches: SearchServer, tables: connection
) -> None:
    """A person at the terminal may; over HTTP it would have a stranger load a challenger's model."""
    execute(tables, "UPDATE embedding_columns SET serving_run_id = NULL WHERE table_name = 'reviews'")
    for question in ({"q": "a"}, {"like": "r1"}):
        answer = own_searches.search(**question, in_=REVIEWS)
        assert (answer.status, answer.error) == (409, f"{REVIEWS} serves no searches; `steam-assets status` says why.")
    assert own_searches.search(q="a", k=1).json["results"][0]["column"] == str(APPLICATIONS)


def test_the_columns_are_told_with_their_runs_and_rows(searches: SearchServer) -> None:
    """And with the fields of a filter; without an index every row is compared. Nobody waits for the rows' count."""
    wait_until(lambda: searches.get("/api/columns").json["columns"][1]["rows"] is not None, "the rows are counted")
    applications, reviews = searches.get("/api/columns").json["columns"]
    assert applications["column"] == str(APPLICATIONS)
    assert applications["model_name"].endswith("all-MiniLM-L6-v2")
    assert (applications["rows"], applications["embedded"], applications["coverage_percent"]) == (25, 24, 100.0)
    assert applications["index"] is None
    assert {"type", "genre", "year", "price"} <= set(applications["fields"])
    assert "voted_up" in reviews["fields"]


def test_an_index_is_told_with_its_recall(own_searches: SearchServer, connect: Connect) -> None:
    """From the moment that it is built and measured, without a restart; a search names its variant."""
    build_measured_index(connect, APPLICATIONS, Wanted(), lambda line: None)
    applications, reviews = own_searches.get("/api/columns").json["columns"]
    assert (applications["index"], applications["recall"]) == ("halfvec", 1.0)
    assert (reviews["index"], reviews["recall"]) == (None, None)
    (result,) = own_searches.search(q=GAME_10, k=1, in_="applications").json["results"]
    assert (result["how"], result["hits"][0]["id"]) == ("hnsw halfvec", "10")


def test_searches_go_on_after_the_server_ended_their_connections(
    own_searches: SearchServer, server: EmbeddedServer, database_url: str
) -> None:
    """Those that were idle are replaced before anyone is told."""
    assert own_searches.search(q="a", k=1).status == 200
    name = database_url.partition("?")[0].rpartition("/")[2]
    execute_on(server, END_CONNECTIONS.format(name))
    assert own_searches.search(q="a", k=1).status == 200


def test_a_database_that_is_away_is_told_without_its_address(
    own_searches: SearchServer, server: EmbeddedServer, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """503 and when to ask again, from search, columns and health; the address is in the log alone. Then it is back."""
    models = own_searches.service.warm_up()
    assert own_searches.get("/healthz").json == {"status": "ok", "database": True, "models": models}
    name = database_url.partition("?")[0].rpartition("/")[2]
    execute_on(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false", END_CONNECTIONS.format(name))
    answers = [own_searches.search(q="a"), own_searches.get("/api/columns"), own_searches.get("/healthz")]
    assert [answer.status for answer in answers] == [503, 503, 503]
    assert all(answer.headers["Retry-After"] == "2" for answer in answers)
    assert answers[2].json["database"] is False
    assert answers[0].error.startswith("The database does not answer. Ask again; the log has more under ")
    assert name in caplog.text
    assert not any(name.encode() in answer.body for answer in answers)

    execute_on(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert own_searches.search(q="a", k=1).status == 200
    assert own_searches.get("/healthz").status == 200


@pytest.mark.slow
def test_a_server_that_was_killed_is_started_again_by_the_next_search(home: Path, minilm: Model) -> None:
    """The embedded one: every connection of the pool is lost, and whoever searches hears nothing of it."""
    address = embedded_database()
    with closing(connect(address)) as conn:
        apply_schema(conn, plan_schema(conn, COLUMNS, minilm.dimension))
        fill_tables_for(conn, minilm)
        embed_by_hash(conn, minilm)
    with search_server(SearchService(address, hash_encoder)) as searches:
        before = searches.search(q=GAME_10, k=1)
        kill_server(embedded.start(home / "postgres"))
        after = searches.search(q=GAME_10, k=1)
    assert before.json["results"][0]["hits"] == after.json["results"][0]["hits"]


def test_an_error_of_ours_is_told_by_a_number(
    own_searches: SearchServer, tables: connection, caplog: pytest.LogCaptureFixture
) -> None:
    """500 without a word of what went wrong; the log has it under the number."""
    execute(tables, "ALTER TABLE reviews RENAME COLUMN review_embedding TO gone")
    answer = own_searches.search(q="a", in_="reviews")
    assert answer.status == 500
    assert "gone" not in answer.error
    assert "review_embedding" not in answer.error
    number = answer.error.removesuffix(".").split()[-1]
    (record,) = [record for record in caplog.records if number in record.getMessage()]
    assert record.exc_info is not None


def test_the_log_has_no_word_of_what_people_search_for(
    searches: SearchServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Path, status and time of each request."""
    caplog.set_level(logging.INFO, "steam_assets")
    assert searches.search(q=UNUSUAL, k=1).status == 200
    assert searches.search(q=UNUSUAL, k=0).status == 422
    requests = logged(caplog, "/api/search", 2)
    assert [line.split(",")[0] for line in requests] == ["GET /api/search 200", "GET /api/search 422"]
    assert UNUSUAL not in caplog.text
    assert UNUSUAL.split()[0] not in caplog.text


def logged(caplog: pytest.LogCaptureFixture, words: str, lines: int) -> list[str]:
    """The lines of the log with these words, as soon as there are so many: they are written after the answer."""
    wait_for(lambda: sum(words in message for message in caplog.messages) >= lines, 10, f"the log says {words}")
    return [message for message in caplog.messages if words in message]


def test_a_path_cannot_write_lines_of_its_own_into_the_log(
    searches: SearchServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It is there as it came, and no longer than a line should be."""
    caplog.set_level(logging.INFO, "steam_assets")
    assert searches.get("/%0A[INFO]%20all%20is%20well" + "a" * 1_000).status == 404
    (said,) = logged(caplog, "all%20is%20well", 1)
    assert "\n" not in said
    assert len(said) < 250


def test_every_path_answers_as_http_has_it(searches: SearchServer) -> None:
    """HEAD like GET without the body; what is not there, or not to be asked so, is refused in JSON."""
    for path, method, status in PATHS:
        answer = searches.get(path, method)
        assert answer.status == status, (path, method)
        if method == "HEAD":
            assert answer.body == b""
        elif status >= 400:
            assert answer.error
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_files_of_the_page_are_not_sent_twice(searches: SearchServer) -> None:
    """A browser asks whether they have changed."""
    first = searches.get("/page/search.js")
    assert first.headers["Cache-Control"] == "no-cache"
    again = searches.get("/page/search.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")


def test_nothing_that_is_served_refers_to_another_host(searches: SearchServer) -> None:
    """The page works where there is no network."""
    for path in ("/", "/page/search.js", "/page/search.css", "/openapi.json"):
        text = searches.get(path).body.decode()
        assert len(text) > 1_000
        for address in ("http://", "https://"):
            assert address not in text, path


def test_the_api_describes_itself(searches: SearchServer) -> None:
    """OpenAPI names every parameter of a search, and what comes back."""
    described = searches.get("/openapi.json").json
    search = described["paths"]["/api/search"]["get"]
    assert {parameter["name"] for parameter in search["parameters"]} == {
        *("q", "like", "in", "k", "where", "hybrid", "exact"),
    }
    assert {"200", "404", "409", "414", "422", "503"} <= set(search["responses"])
    assert {"SearchAnswer", "SearchResult", "Hit", "ServedColumn", "Health"} <= set(described["components"]["schemas"])


def test_a_foreign_page_cannot_search_here(searches: SearchServer) -> None:
    """Neither under a name of its own that leads to this machine, nor by a request out of its own page."""
    for headers, status in ASKED_FROM:
        assert searches.get("/api/search?q=a&k=1", headers=headers).status == status, headers


def test_a_service_for_other_machines_answers_to_any_name(tables: connection, minilm: Model, database_url: str) -> None:
    """Which names lead to it is not known here."""
    service = SearchService(find_database(database_url), hash_encoder)
    with search_server(service, hosts=None) as searches:
        assert searches.get("/", headers={"Host": "search.example"}).status == 200


@pytest.mark.parametrize(
    ("header", "host"),
    [("LocalHost:8000", "localhost"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("127.0.0.1", "127.0.0.1"), ("", "")],
)
def test_a_host_is_read_without_its_port(header: str, host: str) -> None:
    """As browsers write it."""
    assert host_of(header) == host


def test_searches_beyond_those_that_can_wait_are_turned_away() -> None:
    """One is at work and one waits; the third is told at once, and as soon as there is room others are answered."""

    async def scene() -> list[str]:
        turns = Turns(at_once=1, most_waiting=1)
        go_on, told = threading.Event(), list[str]()

        async def ask(name: str) -> None:
            try:
                told.append(await turns(lambda: name if go_on.wait(30) else "late"))
            except Busy as error:
                told.append(str(error))
                go_on.set()

        async with anyio.create_task_group() as group:
            for name in ("first", "second", "third"):
                group.start_soon(ask, name)
        told.append(await turns(lambda: "fourth"))
        return told

    refusal = "2 searches are under way or wait already. Ask again in a moment."
    assert anyio.run(scene) == [refusal, "first", "second", "fourth"]


def test_many_clients_at_once_get_their_own_answers(searches: SearchServer) -> None:
    """More of them than connections; each finds the review that it asked for."""
    found: dict[int, Answer] = {}

    def ask(number: int) -> None:
        text = f"{OPINIONS[number % len(OPINIONS)]} {number} of 10"
        found[number] = searches.search(q=text, in_="reviews", k=1)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    nearest = {number: answer.json["results"][0]["hits"][0]["id"] for number, answer in found.items()}
    assert nearest == {number: str(number) for number in range(1, 25)}

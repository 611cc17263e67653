"""Asking a running service: the results of a search in this process, and plain words for everything else."""

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from psycopg2.extensions import connection

from steam_assets.encoder.models import Model
from steam_assets.search import Searcher
from steam_assets.service.client import NoAnswer, search_at
from steam_assets.service.search_service import SearchService
from steam_assets.store.database import find_database
from steam_assets_tests.hash_encoder import hash_encoder
from steam_assets_tests.rows import Connect
from steam_assets_tests.search_server import SearchServer, embed_by_hash, search_server
from steam_assets_tests.servers import free_port


@pytest.fixture
def searches(tables: connection, minilm: Model, database_url: str) -> Iterator[SearchServer]:
    """The service over 24 games and 24 reviews."""
    embed_by_hash(tables, minilm)
    with search_server(SearchService(find_database(database_url), hash_encoder)) as running:
        yield running


@pytest.fixture
def stranger() -> Iterator[str]:
    """The address of a web server that is something else."""

    class Hello(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"Hello")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hello) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(30)


def test_results_are_those_of_a_search_in_this_process(searches: SearchServer, connect: Connect) -> None:
    """Value by value, games of reviews included; an address may end with a slash."""
    question = {"q": "素晴らしいゲームです 3 of 10 & more", "k": 3, "in": None, "hybrid": False, "exact": True}
    found = search_at(f"{searches.url}/", question)
    expected = Searcher(connect, hash_encoder).search(str(question["q"]), k=3, exact=True)
    assert [(f.column, f.run_id, f.how, f.hits) for f in found] == [
        (e.column, e.run_id, e.how, e.hits) for e in expected
    ]
    assert any(hit.group is not None for result in found for hit in result.hits)


def test_what_the_service_refuses_is_told_in_its_words(searches: SearchServer) -> None:
    """With the address, which may not be the one that was meant."""
    with pytest.raises(NoAnswer, match=rf"^{searches.url} says: k is '0': it should be greater than"):
        search_at(searches.url, {"q": "a", "k": 0})


def test_a_service_that_is_not_there_is_named_with_the_way_without_it() -> None:
    """No answer at all, and addresses that are none."""
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(NoAnswer, match=f"No `steam-assets serve` answers at {url}: .* leaving out --url"):
        search_at(url, {"q": "a"})
    with pytest.raises(NoAnswer, match="No `steam-assets serve` answers at"):
        search_at("http://[", {"q": "a"})
    for wrong in ("127.0.0.1:8000", "ftp://127.0.0.1", "http://", ""):
        with pytest.raises(NoAnswer, match=r"is no address.*such as http://127\.0\.0\.1:8000"):
            search_at(wrong, {"q": "a"})


def test_an_address_with_a_password_is_refused_and_not_repeated() -> None:
    """Addresses are told in messages, and the service has no users."""
    for address in ("http://me:s3cret@127.0.0.1:1", "http://me:s3/cret@127.0.0.1:1"):
        with pytest.raises(NoAnswer, match=r"expected no user and no password") as refused:
            search_at(address, {"q": "a"})
        assert "s3" not in str(refused.value)


def test_another_program_at_the_port_is_not_taken_for_a_service(stranger: str) -> None:
    """It answers, and not in our words."""
    with pytest.raises(NoAnswer, match=r"\(status 200\) is no `steam-assets serve` of this version"):
        search_at(stranger, {"q": "a"})


def test_asking_a_service_loads_no_model_library() -> None:
    """That is what makes the answer quick."""
    script = "import sys, steam_assets.service.client; print({'torch', 'fastapi', 'pydantic'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"

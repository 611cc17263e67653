"""`steam-assets init` adds what is missing, once, to any database, and takes nothing away."""

import json
from collections.abc import Callable

from steam_assets_tests.dagster_home import Ended

Run = Callable[..., Ended]

MINILM = "all-MiniLM-L6-v2"


def test_init_makes_the_schema_once_and_says_so_the_second_time(empty_database_url: str, steam_assets: Run) -> None:
    """The dry run prints the SQL that the first run executes, and changes nothing; the second run has nothing to do."""
    there = ("--database-url", empty_database_url)
    planned = steam_assets("init", *there, "--model", MINILM, "--dry-run")
    assert planned.code == 0
    assert "CREATE TABLE IF NOT EXISTS public.applications" in planned.out
    assert "vector(384)" in planned.out
    assert steam_assets("status", *there).out == "No column has a model yet. Run `steam-assets init`.\n"

    first = steam_assets("init", *there, "--model", MINILM)
    assert first.code == 0
    assert "Next: `steam-assets load FILES`" in first.out
    again = steam_assets("init", *there)
    assert again.code == 0
    assert again.out.startswith("The schema is complete; nothing to do.")
    assert MINILM in again.out


def test_init_completes_the_predecessor_s_database_and_loses_none_of_its_rows(
    predecessor_database_url: str, steam_assets: Run
) -> None:
    """Its tables get what is missing, with the default model whose dimension they have; its vectors are stale."""
    there = ("--database-url", predecessor_database_url)
    assert steam_assets("init", *there).code == 0
    states = {found["column"]: found["state"] for found in json.loads(steam_assets("status", *there, "--json").out)}

    assert states["applications.description_embedding"]["total"] == 10
    assert states["reviews.review_embedding"]["total"] == 20
    assert states["reviews.review_embedding"]["embedded"] == 0
    assert states["reviews.review_embedding"]["stale"] > 0

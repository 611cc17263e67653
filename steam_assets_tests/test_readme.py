"""README: every command in it exists, its examples work, and its pictures and folders are there."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from steam_assets.cli import cli
from steam_assets.columns import TextColumn, check_registry
from steam_assets_tests.dagster_home import Ended

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [line[2:] for line in README.splitlines() if line.startswith("$ ")]
VERB_COMMANDS = [command for command in COMMANDS if command.startswith("steam-assets ")]
FIRST_VERB = "steam-assets doctor"


def test_the_readme_has_commands() -> None:
    """The other tests have something to look at."""
    assert len(VERB_COMMANDS) >= 10
    assert "python3 infra/bootstrap.py demo" in COMMANDS


@pytest.mark.parametrize("command", VERB_COMMANDS)
def test_every_command_of_the_readme_is_understood(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its verb and options exist, and its arguments are taken."""
    monkeypatch.chdir(tmp_path)
    for name in ("applications.csv", "reviews.csv", "steam.dump"):
        (tmp_path / name).touch()
    (tmp_path / "vectors").mkdir()
    verb, *arguments = shlex.split(command.removeprefix("steam-assets "))

    with click.Context(cli) as context:
        found = cli.get_command(context, verb)
        assert found is not None
        found.make_context(verb, arguments, parent=context)


def test_the_own_database_example_works_from_doctor_to_search(
    steam_assets: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands of "With your own database", in their order, on two small files and the packaged model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEAM_ASSETS_MODEL", "all-MiniLM-L6-v2")
    (tmp_path / "applications.csv").write_text(
        "appid,name,short_description\n10,Turnip Valley,Grow turnips with friends\n20,Night Ward,A haunted hospital\n"
    )
    (tmp_path / "reviews.csv").write_text("recommendationid,appid,review_text\n7,10,So cozy.\n8,20,I screamed.\n")
    start = VERB_COMMANDS.index(FIRST_VERB)
    steps = VERB_COMMANDS[start : VERB_COMMANDS.index("steam-assets up", start)]
    assert [shlex.split(step)[1] for step in steps] == [
        *("doctor", "init", "init", "load", "embed", "embed", "status", "search"),
    ]

    for step in steps:
        ended = steam_assets(*shlex.split(step)[1:])
        assert ended.code == 0, f"{step}\n{ended.out}\n{ended.err}"

    assert "Turnip Valley" in ended.out.splitlines()[1]


def test_the_example_of_a_new_column_is_valid() -> None:
    """What the README tells people to write is an entry the registry takes."""
    (entry,) = re.findall(r"^ARTICLES = (TextColumn\(.*\))$", README, flags=re.MULTILINE)

    column = eval(entry, {"TextColumn": TextColumn})  # noqa: S307  (our own README)
    check_registry((column,))
    assert str(column) == "news.Articles.body_embedding"


def test_the_pictures_and_files_it_names_are_there() -> None:
    """No broken picture or link into the repository."""
    for target in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_folders_it_lists_are_there() -> None:
    """The map of the folders matches the tree."""
    block = README.split("## The folders")[1].split("```")[1]
    for name in re.findall(r"^  ([a-z_]+(?:\.py|/))", block, flags=re.MULTILINE):
        assert (ROOT / "steam_assets" / name).exists(), name


def test_exit_codes_are_those_of_the_code() -> None:
    """The table names every exit code."""
    from steam_assets import errors

    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    table = README.split("| code | meaning |")[1].split("\n\n")[0]
    assert codes == {
        int(code) for code in re.findall(r"\d+(?=[ ,|])", "\n".join(line[:16] for line in table.splitlines()))
    }

"""The rooms know only whom DESIGN.md lets them know, and what must be instant imports nothing heavy."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import steam_assets

PACKAGE = Path(steam_assets.__file__).parent
HEAVY = {"torch", "sentence_transformers", "transformers", "pynvml", "matplotlib", "sklearn", "umap"}
SHARED = ("columns.py", "id_range.py", "embeddings.py", "errors.py", "prefetch.py", "progress.py")
"""Values that every room may import: the standard library, numpy, and each other."""
ABOVE = ("cli", "definitions", "defs", "evaluation", "exports", "indexes", "pictures", "promotion", "search", "service")
DAGSTER_FREE = (
    "evaluation",
    "exports",
    "indexes",
    "pictures",
    "search",
    "service",
    "alerts.py",
    "doctor_operation.py",
    "health.py",
    "pipeline.py",
    "stream.py",
    "attempt.py",
    "gate.py",
    "gate_sample.py",
    "device_lease.py",
    "gpu_metrics.py",
    "logs.py",
    "metrics.py",
    "output_file.py",
    "ports.py",
    "row_counts.py",
    "stages.py",
    "plots.py",
    "promotion.py",
    "targets.py",
    "estimate.py",
    "initialise.py",
    "settings.py",
    "terminal.py",
    "upkeep.py",
)


def imported(path: Path, at_load: bool = False) -> Iterator[str]:
    """The modules a file imports, anywhere in it, or only those that loading it imports."""
    tree = ast.parse(path.read_text())
    typing_only = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    in_functions = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if node in typing_only or (at_load and node in in_functions):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(place: str) -> list[Path]:
    """The Python files of a room, or one file."""
    found = PACKAGE / place
    return [found] if found.is_file() else sorted(found.rglob("*.py"))


def offences(place: str, forbidden: set[str]) -> list[str]:
    """Imports of a room that are, or lie inside, something forbidden to it."""
    return [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for path in files(place)
        for module in imported(path)
        if any(module == name or module.startswith(f"{name}.") for name in forbidden)
    ]


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("store", {"torch", "sentence_transformers", "transformers", "dagster", "steam_assets.encoder"}),
        ("encoder", {"psycopg2", "dagster", "steam_assets.store"}),
    ],
)
def test_encoder_and_store_never_meet_and_know_no_dagster(room: str, forbidden: set[str]) -> None:
    """SQL and models are joined in pipeline.py and nowhere below it; neither room knows one above."""
    forbidden |= {"click", *(f"steam_assets.{above}" for above in ABOVE)}
    assert len(files(room)) > 5
    assert offences(room, forbidden) == []


@pytest.mark.parametrize("place", SHARED)
def test_what_every_room_shares_needs_numpy_at_most(place: str) -> None:
    """Columns, ranges and embeddings can be used with nothing installed but numpy."""
    allowed = set(sys.stdlib_module_names) | {"numpy"}
    shared = {f"steam_assets.{Path(name).stem}" for name in SHARED}
    foreign = [
        module
        for module in imported(PACKAGE / place)
        if module.partition(".")[0] not in allowed and not any(module.startswith(name) for name in shared)
    ]
    assert foreign == []


@pytest.mark.parametrize("place", DAGSTER_FREE)
def test_the_work_itself_can_be_done_without_dagster(place: str) -> None:
    """Everything but defs/ and the doors runs, and is tested, with Dagster absent."""
    assert offences(place, {"dagster", "dagster_postgres", "steam_assets.defs", "steam_assets.definitions"}) == []


def test_models_are_imported_inside_functions_only() -> None:
    """No file of the package imports torch or a model library when it is loaded."""
    found = [
        (path.name, module)
        for path in files(".")
        for module in imported(path, at_load=True)
        if module.partition(".")[0] in HEAVY
    ]
    assert found == []


def test_only_the_doors_know_the_command_line_library() -> None:
    """What a verb does can be called from anywhere, without click."""
    using_click = {path.name for path in files(".") if "click" in set(imported(path))}
    assert {name for name in using_click if not name.startswith("cli")} == {"options.py", "exits.py"}


HELP = """
import sys
from steam_assets.cli import cli

for verb in ["", *cli.commands]:
    try:
        cli.main([*([verb] if verb else []), "--help"])
    except SystemExit as ended:
        assert ended.code == 0
print("imported:", sorted({"torch", "dagster", "psycopg2", "numpy", "tqdm"} & set(sys.modules)))
"""
LOAD = f"""
import sys
import steam_assets.definitions

assert steam_assets.definitions.defs is not None
print("imported:", sorted({HEAVY} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("what", "script"), [("the help of any verb", HELP), ("the code location", LOAD)], ids=["help", "definitions"]
)
def test_what_must_be_instant_imports_nothing_heavy(what: str, script: str) -> None:
    """Help imports neither Dagster nor numpy; definitions load without torch, which takes 2 to 10 s."""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "imported: []", what

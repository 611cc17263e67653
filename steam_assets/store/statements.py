"""Steps of a schema's plan: SQL with its reason. Those of schema.sql are read here; which are needed is schema.py."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

BLOCK = re.compile(r"^-- (table|column|index|type) public\.([\w.]+): (.+)\n((?:(?!-- ).*\n)+)", re.MULTILINE)


@dataclass(frozen=True)
class Statement:
    """One step of a plan: SQL, and in a few words why."""

    reason: str
    sql: str

    def __str__(self) -> str:
        return f"-- {self.reason}\n{self.sql};\n"


def schema_blocks() -> Iterator[tuple[str, str, Statement]]:
    """The blocks of schema.sql in order: kind, name, statement."""
    text = files("steam_assets.store").joinpath("schema.sql").read_text()
    for kind, name, reason, ddl in BLOCK.findall(text):
        yield kind, name, Statement(reason, ddl.strip().removesuffix(";"))

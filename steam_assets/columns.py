"""The text columns this platform embeds. Adding one is one entry in COLUMNS; everything else follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from steam_assets.errors import SteamAssetsError

IdType = Literal["bigint", "text"]


@dataclass(frozen=True)
class TextColumn:
    """A text column of a table and the three columns that hold its vector, the run that made it, and its digest.

    ``id_type`` is how ids compare: "bigint" for smallint, integer and bigint keys, "text" for text and varchar.
    ``model`` is the one that `init` chooses for this column; None leaves it to the database's.
    """

    table: str
    id: str
    text: str
    vector: str
    id_type: IdType = "bigint"
    schema: str = "public"
    run: str = "embedding_run_id"
    preparation: str = "plain"
    model: str | None = None

    def __post_init__(self) -> None:
        for name in ("table", "id", "text", "vector", "schema", "run"):
            value = getattr(self, name)
            if not value or len(value.encode()) > 63 or "\0" in value:
                raise SteamAssetsError(f"TextColumn.{name} is {value!r}; PostgreSQL names have 1 to 63 bytes.")
        if self.id_type not in ("bigint", "text"):
            raise SteamAssetsError(
                f"{self}: id_type is {self.id_type!r}; expected 'bigint' (any integer key) or 'text'. "
                "uuid and composite keys are not supported: give the table a bigint or text key."
            )
        if len(self.digest.encode()) > 63:
            raise SteamAssetsError(
                f"{self}: {self.digest!r} is longer than 63 bytes; shorten the vector column's name."
            )

    @property
    def digest(self) -> str:
        """The column with the md5 of the text that was encoded."""
        return f"{self.vector}_source_md5"

    @property
    def qualified_table(self) -> str:
        """The table as people write it: the schema is named only when it is not public."""
        return self.table if self.schema == "public" else f"{self.schema}.{self.table}"

    def is_of_table(self, other: "TextColumn") -> bool:
        """Whether both are columns of one table."""
        return (self.schema, self.table) == (other.schema, other.table)

    def __str__(self) -> str:
        return f"{self.qualified_table}.{self.vector}"


APPLICATIONS = TextColumn(
    table="applications",
    id="appid",
    text="combined_text",
    vector="description_embedding",
    id_type="bigint",
    preparation="steam_html",
)
REVIEWS = TextColumn(
    table="reviews", id="recommendationid", text="review_text", vector="review_embedding", id_type="text"
)

COLUMNS: tuple[TextColumn, ...] = (APPLICATIONS, REVIEWS)


def rivals(column: TextColumn, columns: Sequence[TextColumn] = COLUMNS) -> list[TextColumn]:
    """The other vector columns of the same text: searches read one of them, and `steam-assets promote` says which."""
    return [
        other
        for other in columns
        if other.is_of_table(column) and other.text == column.text and other.vector != column.vector
    ]


def check_registry(columns: tuple[TextColumn, ...]) -> None:
    """Raise when two entries would write the same vector, run or digest column of one table, or disagree on its id."""
    owners: dict[tuple[str, str, str], TextColumn] = {}
    for column in columns:
        for written in (column.vector, column.run, column.digest):
            owner = owners.setdefault((column.schema, column.table, written), column)
            if owner is not column:
                raise SteamAssetsError(
                    f"{owner} and {column} both write {column.qualified_table}.{written}. Give the second vector "
                    f'column a run column of its own: TextColumn(..., run="{column.vector}_run_id").'
                )
    ids: dict[tuple[str, str], TextColumn] = {}
    for column in columns:
        first = ids.setdefault((column.schema, column.table), column)
        if (first.id, first.id_type) != (column.id, column.id_type):
            raise SteamAssetsError(
                f"{first} has the id {first.id} ({first.id_type}), and {column} {column.id} ({column.id_type}). A "
                "table is cut into ranges of one id: give both entries the same."
            )


def find_column(name: str, columns: tuple[TextColumn, ...] = COLUMNS) -> TextColumn:
    """The column called ``table.vector``, ``vector`` or ``table`` where that says which one is meant."""
    wanted = name.replace("/", ".")
    found = [c for c in columns if wanted in (str(c), c.vector, c.qualified_table)]
    if len(found) != 1:
        raise SteamAssetsError(f"{name!r} names {len(found)} columns; expected one of: {', '.join(map(str, columns))}.")
    return found[0]

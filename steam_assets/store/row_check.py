"""Records of a file into rows of a table: every value checked against its column before the server sees it."""

from collections import Counter
from collections.abc import Collection

from steam_assets.columns import COLUMNS
from steam_assets.store.catalog import Table, TableColumn
from steam_assets.store.files import PublishedTable, UnknownFile
from steam_assets.store.genres import KEY as GENRES
from steam_assets.store.genres import genre_names
from steam_assets.store.records import Record
from steam_assets.store.upsert import FILLED_ON_INSERT, StagedRow
from steam_assets.store.values import BadValue, Converter, NotADate, converter, shown, whole_number_text

PERSONAL = "author_"
"""Columns whose values no message quotes begin so."""


class RowCheck:
    """What a table takes from a file, and the check of each row against it.

    Never written: generated columns, vectors with their runs and digests, and types that files do not fill.
    ``with_genres`` takes the names that its rows list besides, for tables of their own.
    """

    def __init__(self, table: PublishedTable, shape: Table, with_genres: bool = False) -> None:
        self.shape = shape
        self.table = table
        self.converters = {name: found for name, column in shape.columns.items() if (found := self._converter(column))}
        self._not_given = {
            column.name
            for column in shape.columns.values()
            if column.not_null and (column.has_default or column.name in FILLED_ON_INSERT.get(table.name, {}))
        }
        self._required = {column.name for column in shape.columns.values() if column.not_null} - self._not_given
        self._with_genres = with_genres
        self._no_dates: Counter[str] = Counter()
        self._first_no_date: dict[str, str] = {}
        self._no_genres: list[int] = []

    @property
    def taken(self) -> Collection[str]:
        """The columns of a file that are not ignored."""
        return {*self.converters, GENRES} if self._with_genres else set(self.converters)

    def require(self, label: str, columns: Collection[str]) -> None:
        """Raise when a column that every row needs is in none of a file's rows."""
        if missing := sorted(self._required.difference(columns)):
            raise UnknownFile(
                f"{label} lacks {', '.join(missing)}, which {self.table.name} needs in every row. "
                f"Columns found: {', '.join(sorted(columns))}."
            )

    def key(self, record: Record) -> tuple[str, ...]:
        """The row's key as text, the same however it is written: 88.0 and 88; raises BadValue."""
        values = []
        for name in self.table.key:
            value = record.values.get(name)
            if value is None or value == "":
                raise BadValue(f"{name} is empty")
            try:
                values.append(self.converters[name](value))
            except BadValue as error:
                raise BadValue(f"{name} {error}") from None
        return tuple(values)

    def row(self, record: Record, key: tuple[str, ...]) -> StagedRow:
        """The row to copy; raises BadValue naming the column. A value that is no date becomes NULL and a warning."""
        columns = list(self.table.key)
        cells = [str(record.line), *map(_escaped, key)]
        for name, value in record.values.items():
            convert = self.converters.get(name)
            if convert is None or name in self.table.key:
                continue
            text = None if value is None else self._converted(record.line, name, value, convert)
            if text is None and name in self._not_given:
                continue
            if text is None and name in self._required:
                raise BadValue(f"{name} is empty")
            columns.append(name)
            cells.append(r"\N" if text is None else _escaped(text))
        return StagedRow(record.line, key, tuple(columns), "\t".join(cells) + "\n", self._genres(record))

    def warnings(self) -> tuple[str, ...]:
        """What was changed in rows that were kept, a sentence for each column."""
        dates = (
            f"{name}: {count} values are no dates and became NULL, first on {self._first_no_date[name]}"
            for name, count in sorted(self._no_dates.items())
        )
        if not self._no_genres:
            return tuple(dates)
        lines = self._no_genres
        return (
            *dates,
            f"{GENRES}: {len(lines)} values are no lists of names and were left out, first on line {lines[0]}",
        )

    def _genres(self, record: Record) -> tuple[str, ...]:
        if not self._with_genres:
            return ()
        try:
            return genre_names(record.values.get(GENRES))
        except BadValue:
            self._no_genres.append(record.line)
            return ()

    def _converted(self, line: int, name: str, value: object, convert: Converter) -> str | None:
        try:
            return convert(value)
        except NotADate:
            self._first_no_date.setdefault(name, f"line {line}: {shown(value)}")
            self._no_dates[name] += 1
            return None
        except BadValue as error:
            if name.startswith(PERSONAL):
                raise BadValue(f"{name} does not fit the type {self.shape.columns[name].type}") from None
            raise BadValue(f"{name} {error}") from None

    def _converter(self, column: TableColumn) -> Converter | None:
        written_by_us = {
            name
            for known in COLUMNS
            if (known.schema, known.table) == (self.shape.schema, self.shape.name)
            for name in (known.vector, known.run, known.digest)
        }
        if column.generated or column.name in written_by_us:
            return None
        if column.name in self.table.key and column.type == "text":
            return whole_number_text
        return converter(column.type, column.labels)


def _escaped(text: str) -> str:
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    # Three scans in C; most values hold none of these.
    return text.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")

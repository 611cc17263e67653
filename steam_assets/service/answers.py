"""What the API is asked and what it answers, as OpenAPI describes it. Results of searches are those of search/."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from steam_assets.search import SearchResult
from steam_assets.search.question import MOST_HITS
from steam_assets.store.filter_language import LONGEST_FILTER

LONGEST_TEXT = 10_000
LONGEST_ID = 1_000
DEFAULT_K = 10


class SearchRequest(BaseModel):
    """A search: for ``q`` in meaning, or for rows like the one with the id ``like``."""

    model_config = ConfigDict(extra="forbid")

    q: str | None = Field(None, max_length=LONGEST_TEXT, description="What to search for, in words.")
    like: str | None = Field(None, max_length=LONGEST_ID, description="The id of a row, instead of words.")
    column: str | None = Field(
        None, alias="in", max_length=200, description="Where; every column that serves, for `like` the first."
    )
    k: int = Field(DEFAULT_K, ge=1, le=MOST_HITS, description="Hits per column; of reviews, games.")
    where: str | None = Field(
        None, max_length=LONGEST_FILTER, description="A condition, such as `genre = RPG and year >= 2015`."
    )
    hybrid: bool = Field(False, description="Rank by the words of the text as well.")
    exact: bool = Field(False, description="Compare every row, also where there is an index.")


@dataclass(frozen=True)
class SearchAnswer:
    """The results of the columns that were asked."""

    results: list[SearchResult]


@dataclass(frozen=True)
class ServedColumn:
    """A column that searches read: its run, and the index they go through; without one they compare every row.

    ``fields`` are what ``where`` may name here. The counts are those of ``counted_s_ago``, of the run that fills the
    column, and None until they have been made.
    """

    column: str
    model_name: str
    dimension: int
    run_id: int
    index: str | None
    recall: float | None
    fields: list[str]
    rows: int | None
    embedded: int | None
    coverage_percent: float | None
    counted_s_ago: float | None


@dataclass(frozen=True)
class ServedColumns:
    """The columns that searches read."""

    columns: list[ServedColumn]


@dataclass(frozen=True)
class Health:
    """Whether a search can be answered now."""

    status: Literal["ok", "unavailable"]
    database: bool
    models: list[str]


@dataclass(frozen=True)
class Problem:
    """Why there is no answer; ``error`` says what was found and what was expected."""

    error: str

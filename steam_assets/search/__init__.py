"""Search vector columns by meaning, with the model their vectors were made with: what a notebook, the CLI and the HTTP
service call. The SQL is in store/."""

from steam_assets.search.results import Group, Hit, NoSuchRow, NothingServed, SearchError, SearchResult, SearchTimeout
from steam_assets.search.searcher import Searcher, open_searcher

__all__ = [
    "Group",
    "Hit",
    "NoSuchRow",
    "NothingServed",
    "SearchError",
    "SearchResult",
    "SearchTimeout",
    "Searcher",
    "open_searcher",
]

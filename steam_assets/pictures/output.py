"""Where maps are kept in the home. Writing them is output_file.py's."""

from pathlib import Path
from urllib.parse import quote

from steam_assets.pictures.embedding_map import EmbeddingMap
from steam_assets.settings import make_home


def place_in_home(drawn: EmbeddingMap) -> Path:
    """The home's file for a map of the column."""
    return make_home("maps") / f"{quote(str(drawn.points.column), safe=' ')}.html"

"""A map as one HTML file that needs nothing else: no network, no library. What it does is in page/."""

import gzip
import hashlib
import html
import json
import re
from base64 import b64encode
from collections import Counter
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from steam_assets.pictures.embedding_map import EmbeddingMap
from steam_assets.pictures.groups import Groups
from steam_assets.pictures.palette import OTHER_COLOR, color_of

WORLD = 65_535
"""Places are whole numbers up to this: a thirtieth of a pixel on a screen of 2,000."""
MOST_SETS = 65_535
ID_CHARACTERS = 40


def map_html(drawn: EmbeddingMap) -> str:
    """The page. Texts of the database reach it packed as base64, and are shown as text only."""
    style, script = page_part("map.css"), page_part("map.js") + page_part("panel.js")
    parts = {
        "title": html.escape(drawn.title),
        "subtitle": html.escape(drawn.subtitle),
        "style": style,
        "style digest": _digest(style),
        "script": script,
        "script digest": _digest(script),
        "data": b64encode(gzip.compress(packed(drawn), mtime=0)).decode(),
    }
    return re.sub(r"\[([a-z ]+)\]", lambda found: parts[found[1]], page_part("map.html"))


def page_part(name: str) -> str:
    """A file of the page."""
    return files("steam_assets.pictures").joinpath("page", name).read_text(encoding="utf-8")


def packed(drawn: EmbeddingMap) -> bytes:
    """What map.js reads: the length of a JSON header, the header, and arrays of a number or a line for each row.

    In this order, little-endian: places (2 uint16), the set of groups (uint16), the group in each way of colouring
    (uint8), and "id, tab, name" in UTF-8.
    """
    points = drawn.points
    places = whole_places(drawn.layout.places)
    sets, set_of_row = _sets(points.groups)
    ways = [("cluster", drawn.clusters)]
    if drawn.groups is not None and points.group_noun is not None:
        ways.append((points.group_noun, drawn.groups))
    centres = whole_places(
        np.array([drawn.centre(cluster) for cluster in range(len(drawn.clusters.names))]), drawn.layout.places
    )
    header = {
        "rows": len(points),
        "id": points.column.id,
        "ways": [{"noun": noun, "groups": _legend(groups)} for noun, groups in ways],
        "centres": [
            {"name": name, "x": int(x), "y": int(y)} for name, (x, y) in zip(drawn.clusters.names, centres, strict=True)
        ],
        "sets": sets,
    }
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 4)
    lines = "".join(
        f"{_one_line(id_)[:ID_CHARACTERS]}\t{_one_line(name)}\n"
        for id_, name in zip(points.ids, points.names, strict=True)
    )
    return b"".join(
        [
            len(encoded).to_bytes(4, "little"),
            encoded,
            places.astype("<u2").tobytes(),
            set_of_row.astype("<u2").tobytes(),
            *(groups.of_row.astype(np.uint8).tobytes() for _, groups in ways),
            lines.encode(),
        ]
    )


def whole_places(places: NDArray[np.float32], within: NDArray[np.float32] | None = None) -> NDArray[np.uint16]:
    """Places as whole numbers from 0 to WORLD, one scale for both axes, y downwards; ``within`` others' frame."""
    frame = places if within is None else within
    low, high = frame.min(axis=0).astype(np.float64), frame.max(axis=0).astype(np.float64)
    span = max(float((high - low).max()), 1e-12)
    placed = (places - (low + high) / 2) / span * [1, -1] + 0.5
    return np.asarray(np.round(np.clip(placed, 0, 1) * WORLD), dtype=np.uint16)


def _sets(groups: list[tuple[str, ...]]) -> tuple[list[tuple[str, ...]], NDArray[np.uint16]]:
    """The different sets of groups, the frequent ones first, and the place of each row's; rare ones count as none."""
    frequent = Counter(groups)
    frequent.pop((), None)
    sets = [(), *(found for found, _ in frequent.most_common(MOST_SETS))]
    place = {found: number for number, found in enumerate(sets)}
    return sets, np.array([place.get(found, 0) for found in groups], dtype=np.uint16)


def _legend(groups: Groups) -> list[dict[str, object]]:
    names = (*groups.names, "other")
    colors = (*(color_of(number) for number in range(len(groups.names))), OTHER_COLOR)
    return [
        {"name": name, "color": color, "size": size}
        for name, color, size in zip(names, colors, groups.sizes(), strict=True)
    ]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _digest(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"

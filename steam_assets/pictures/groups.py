"""Which of its groups colours a row: of the frequent ones the rarest, for that says most."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_GROUPS = 11
"""Each has a colour of its own; all others share one more."""


@dataclass(frozen=True)
class Groups:
    """Names of groups with the most frequent first, and each row's as its place among them.

    A row in none of them has the place after the last name.
    """

    names: tuple[str, ...]
    of_row: NDArray[np.uint8]

    def sizes(self) -> list[int]:
        """Rows in each, and in none of them at the end."""
        return [int(size) for size in np.bincount(self.of_row, minlength=len(self.names) + 1)]


def choose_groups(groups_of_rows: Sequence[Sequence[str]], most: int = MOST_GROUPS) -> Groups:
    """A group for each row: [["Action", "RPG"], ["Action"]] colours the first row as RPG, the second as Action."""
    frequency = Counter(group for groups in groups_of_rows for group in set(groups))
    shown = sorted(frequency, key=lambda group: (-frequency[group], group))[:most]
    place = {group: number for number, group in enumerate(shown)}
    of_row = [
        max((place[group] for group in groups if group in place), default=len(shown)) for groups in groups_of_rows
    ]
    return Groups(tuple(shown), np.array(of_row, dtype=np.uint8))

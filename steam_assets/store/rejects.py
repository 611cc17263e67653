"""The file that names the rows a load refused: line, id and reason, nothing else of the row."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO

from steam_assets.settings import make_home


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that is not loaded; ``id`` is None where the row could not be read that far."""

    line: int
    id: str | None
    reason: str


class Rejects:
    """Rejects of one input file, written to ``<home>/rejects`` as they come; without any, there is no file."""

    def __init__(self, label: str) -> None:
        self.count = 0
        self.path: Path | None = None
        self._label = label
        self._file: IO[str] | None = None

    def add(self, reject: Reject) -> None:
        """Write one reject down."""
        if self._file is None:
            name = re.sub(r"[^A-Za-z0-9._-]+", "_", self._label)[-100:]
            moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
            self.path = make_home("rejects") / f"{name}.{moment}.jsonl"
            self._file = self.path.open("x", encoding="utf-8")
        row = {"line": reject.line, "id": reject.id, "reason": reject.reason}
        # A reason may quote a broken byte, which only the escaped form can hold.
        self._file.write(json.dumps(row) + "\n")
        self.count += 1

    def __enter__(self) -> "Rejects":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

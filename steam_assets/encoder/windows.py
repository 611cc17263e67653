"""Windows: rows that were read together, prepared and tokenized ahead of the device, the same text once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from steam_assets.embeddings import Embeddings, EncodedBatch, SourceTexts, UnembeddableRow
from steam_assets.encoder.backend import Vectors
from steam_assets.encoder.preparation import Preparation
from steam_assets.encoder.tokens import TextTokenizer, TokenizedTexts


@dataclass(frozen=True)
class Window:
    """A page's distinct texts, tokenized; ``rows`` are the page's rows that have each of them, ``blank`` have none."""

    page: SourceTexts
    texts: TokenizedTexts
    rows: Sequence[Sequence[int]]
    blank: Sequence[int]

    @property
    def tokens(self) -> int:
        """What the model will read."""
        return len(self.texts.ids)

    def batch(
        self,
        rows: Sequence[int],
        vectors: Vectors,
        failed: Mapping[int, str | None],
        tokens: int = 0,
        truncated: int = 0,
    ) -> EncodedBatch:
        """The batch of these rows, with their ids, versions and digests."""
        page = self.page
        embeddings = Embeddings(
            ids=[page.ids[row] for row in rows],
            row_versions=[page.row_versions[row] for row in rows],
            source_md5=[page.source_md5[row] for row in rows],
            vectors=vectors,
        )
        unembeddable = tuple(UnembeddableRow(page.ids[row], page.source_md5[row], why) for row, why in failed.items())
        return EncodedBatch(embeddings, unembeddable, tokens, truncated)


def tokenized_windows(
    pages: Iterable[SourceTexts], preparation: Preparation, tokenizer: TextTokenizer
) -> Iterator[Window]:
    """A window for each page."""
    for page in pages:
        rows: dict[str, list[int]] = {}
        blank: list[int] = []
        for row, source in enumerate(page.texts):
            text = preparation.prepare(source)
            if text.strip():
                rows.setdefault(text, []).append(row)
            else:
                blank.append(row)
        yield Window(page, tokenizer.tokenize(list(rows)), list(rows.values()), blank)

"""Windows: what was read together is prepared and tokenized ahead of the device, each text once."""

from steam_assets.encoder.encoder import Encoder
from steam_assets.encoder.preparation import PREPARATIONS, Preparation
from steam_assets_tests.vectors import page

PLAIN = PREPARATIONS["plain"]


def test_a_window_holds_each_distinct_text_with_its_rows(encoder: Encoder) -> None:
    """Blank rows are known before any device is needed."""
    (window,) = encoder.windows([page(["farm", "", "world", "farm", " \n"])], PLAIN)
    assert window.texts.texts == ["farm", "world"]
    assert window.rows == [[0, 3], [2]]
    assert window.blank == [1, 4]
    assert window.tokens == encoder.count_tokens(["farm", "world"]).sum()


def test_texts_that_preparation_makes_equal_are_one(encoder: Encoder) -> None:
    """What the model reads decides, not what is stored."""
    upper = Preparation("upper", 1, str.upper)
    (window,) = encoder.windows([page(["farm", "Farm", "FARM"])], upper)
    assert window.texts.texts == ["FARM"]
    assert window.rows == [[0, 1, 2]]


def test_a_window_without_texts_is_still_a_window(encoder: Encoder) -> None:
    """Its rows are recorded as blank."""
    (window,) = encoder.windows([page(["", " "])], PLAIN)
    assert (len(window.texts), window.tokens, window.blank) == (0, 0, [0, 1])
    assert [len(batch.unembeddable) for batch in encoder.embed([window])] == [2]


def test_a_batch_carries_ids_versions_and_digests_of_its_rows(encoder: Encoder) -> None:
    """They are what lets the write refuse a row that has changed meanwhile."""
    source = page(["farm", "world", "sword"], first_id=10)
    (window,) = encoder.windows([source], PLAIN)
    batch = window.batch([2, 0], encoder.encode(["sword", "farm"]), {1: "broken"}, tokens=9, truncated=1)
    assert list(batch.embeddings.ids) == [12, 10]
    assert list(batch.embeddings.source_md5) == [source.source_md5[2], source.source_md5[0]]
    assert list(batch.embeddings.row_versions) == [7, 7]
    assert [(row.id, row.source_md5, row.reason) for row in batch.unembeddable] == [
        (11, source.source_md5[1], "broken")
    ]
    assert (batch.tokens, batch.truncated) == (9, 1)

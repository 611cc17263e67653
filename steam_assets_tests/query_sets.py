"""A small query set in BEIR's layout, whole or with files replaced."""

from pathlib import Path

QUERIES = '{"_id": "q1", "text": "a cozy farm"}\n{"_id": "q2", "text": "trains", "metadata": {"language": "en"}}\n'
CORPUS = '{"_id": "d1", "title": "Turnips", "text": "Grow them."}\n{"_id": "d2", "text": "Lay tracks."}\n'
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td2\t1\n"
FILES = {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels/test.tsv": QRELS}


def folder_of(home: Path, **replaced: str | bytes | None) -> Path:
    """A set's folder with some of its files replaced: queries, corpus or qrels."""
    names = {"queries": "queries.jsonl", "corpus": "corpus.jsonl", "qrels": "qrels/test.tsv"}
    contents: dict[str, str | bytes | None] = {**FILES, **{names[name]: text for name, text in replaced.items()}}
    root = home / "farms"
    for name, text in contents.items():
        if text is not None:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root

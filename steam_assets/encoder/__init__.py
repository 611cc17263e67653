"""Text to embeddings. Knows no SQL and no Dagster; torch is imported inside functions."""

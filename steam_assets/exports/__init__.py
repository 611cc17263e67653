"""Vectors as files, and files as vectors: parquet and npy, resumable. The SQL is in store/; no Dagster."""

"""Text columns of PostgreSQL into pgvector columns you can trust, as Dagster assets on your own GPU."""

__version__ = "0.1.0"

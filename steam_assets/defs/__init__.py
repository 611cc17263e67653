"""Thin Dagster: partitions, assets, checks, resources, IO manager. The verbs they call live in store and encoder."""

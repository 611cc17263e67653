"""Thin Dagster: partitions, assets, checks, resources, IO manager. The verbs they call live in store and encoder."""

import warnings

import dagster as dg

# Partitioned asset checks and backfill policies are not final in Dagster 1.13: pyproject.toml pins it for that reason.
for category in (dg.PreviewWarning, dg.BetaWarning):
    warnings.filterwarnings("ignore", category=category)

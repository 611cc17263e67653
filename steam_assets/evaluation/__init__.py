"""How good a search is: query sets, metrics with intervals, comparisons. Searching itself is search/; no Dagster."""

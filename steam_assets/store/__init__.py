"""Everything SQL. Knows no torch and no Dagster."""

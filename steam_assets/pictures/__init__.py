"""Maps of a column's vectors: layout, clusters, PNG and HTML. Reading the vectors is store/'s; no Dagster."""

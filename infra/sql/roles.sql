-- Three roles for a database of steam-assets: who owns its tables, who fills vectors, who searches. For psql, run by a
-- superuser:
--
--     psql -f infra/sql/roles.sql postgresql://ADMIN@HOST/steam
--     psql -v database=steam -v schema=public -f infra/sql/roles.sql postgresql://ADMIN@HOST/postgres
--
-- Run it before the first `steam-assets init`, which the owner runs, and again after each init that added something:
-- rights on tables can be given only once they are there. Running it again changes nothing else. `schema` is where the
-- tables with the texts are; those named embedding_* are always in public.
--
--     steam_assets_owner   init, load, demo, index, promote, drop-column: creates tables and indexes, and writes
--                          everything in them
--     steam_assets_writer  embed, status, ranges, failures, retry, evaluate, up: reads ids and texts, writes vectors
--                          and records; in the web UI the assets of indexes and their variants are the owner's
--     steam_assets_reader  search, serve, map, compare, export
--
-- The roles cannot log in. People and services get roles of their own:
--
--     CREATE ROLE steam_admin LOGIN PASSWORD '...' IN ROLE steam_assets_owner;
--     ALTER ROLE steam_admin SET role = 'steam_assets_owner';  -- so that tables belong to the group, not to one member
--     CREATE ROLE steam_worker LOGIN PASSWORD '...' IN ROLE steam_assets_writer;
--     CREATE ROLE steam_site LOGIN PASSWORD '...' IN ROLE steam_assets_reader;
--
-- VACUUM after vectors were written anew is autovacuum's, or from PostgreSQL 17 on the writer's, if you add
-- GRANT MAINTAIN ON reviews TO steam_assets_writer; that lets it lock and rebuild the table too.
-- Tables that were there before keep their owner. To hand one over: ALTER TABLE reviews OWNER TO steam_assets_owner.
-- Dagster's runs and events are in a database of their own, which the worker must own:
-- CREATE DATABASE dagster OWNER steam_worker, or any other that STEAM_ASSETS_DAGSTER_URL names.

\set ON_ERROR_STOP on
\set QUIET on
\if :{?database}
    \connect :"database"
\endif
\if :{?schema}
\else
    \set schema public
\endif

BEGIN;

SELECT format('CREATE ROLE %I NOLOGIN', name)
FROM unnest(ARRAY['steam_assets_owner', 'steam_assets_writer', 'steam_assets_reader']) AS name
WHERE name NOT IN (SELECT rolname FROM pg_roles)
\gexec

-- pgvector's extension can be made by a superuser only.
CREATE EXTENSION IF NOT EXISTS vector SCHEMA public;

GRANT CONNECT, TEMPORARY ON DATABASE :"DBNAME" TO steam_assets_owner;
GRANT USAGE, CREATE ON SCHEMA public, :"schema" TO steam_assets_owner;

-- Chunks of vectors arrive in a temporary table.
GRANT CONNECT, TEMPORARY ON DATABASE :"DBNAME" TO steam_assets_writer;
GRANT CONNECT ON DATABASE :"DBNAME" TO steam_assets_reader;
GRANT USAGE ON SCHEMA public, :"schema" TO steam_assets_writer, steam_assets_reader;

-- A table of your own: two lines with its id, text, vector, run and digest, as for reviews. xmin is the row's version,
-- by which the writer sees that a text has changed meanwhile.
CREATE TEMPORARY TABLE rights (place text, name text, role text, rights text) ON COMMIT DROP;
INSERT INTO rights
VALUES
    (:'schema', 'applications', 'steam_assets_writer',
     'SELECT (appid, combined_text, description_embedding, embedding_run_id, description_embedding_source_md5, xmin,
              name, short_description, about_the_game, detailed_description),
      UPDATE (description_embedding, embedding_run_id, description_embedding_source_md5)'),
    (:'schema', 'applications', 'steam_assets_reader',
     'SELECT (appid, combined_text, description_embedding, embedding_run_id, description_embedding_source_md5,
              name, short_description, about_the_game, detailed_description,
              type, release_date, is_free, mat_final_price, supported_languages)'),
    (:'schema', 'reviews', 'steam_assets_writer',
     'SELECT (recommendationid, review_text, review_embedding, embedding_run_id, review_embedding_source_md5, xmin),
      UPDATE (review_embedding, embedding_run_id, review_embedding_source_md5)'),
    (:'schema', 'reviews', 'steam_assets_reader',
     'SELECT (recommendationid, review_text, review_embedding, embedding_run_id, review_embedding_source_md5,
              appid, language, voted_up)'),
    -- What a search shows beside a text and filters by, and the colours of a map.
    (:'schema', 'genres', 'steam_assets_writer', 'SELECT'),
    (:'schema', 'genres', 'steam_assets_reader', 'SELECT'),
    (:'schema', 'application_genres', 'steam_assets_writer', 'SELECT'),
    (:'schema', 'application_genres', 'steam_assets_reader', 'SELECT'),
    ('public', 'embedding_schema', 'steam_assets_writer', 'SELECT'),
    ('public', 'embedding_schema', 'steam_assets_reader', 'SELECT'),
    ('public', 'embedding_runs', 'steam_assets_writer', 'SELECT'),
    ('public', 'embedding_runs', 'steam_assets_reader', 'SELECT'),
    -- The run that searches read follows the one that is complete; which one is filled is the owner's choice.
    ('public', 'embedding_columns', 'steam_assets_writer',
     'SELECT, INSERT (table_name, vector_column, serving_run_id), UPDATE (serving_run_id)'),
    ('public', 'embedding_columns', 'steam_assets_reader', 'SELECT'),
    ('public', 'embedding_run_ranges', 'steam_assets_writer', 'SELECT, INSERT, UPDATE'),
    -- Whether a projection lacks rows: an attempt is on record before it writes a vector. And what a column cost.
    ('public', 'embedding_run_ranges', 'steam_assets_reader',
     'SELECT (range_id, table_name, vector_column, run_id, status, rows_written, seconds, details)'),
    ('public', 'embedding_failures', 'steam_assets_writer', 'SELECT, INSERT, UPDATE, DELETE'),
    -- Rows by state, which serve tells.
    ('public', 'embedding_failures', 'steam_assets_reader',
     'SELECT (table_name, vector_column, run_id, id, source_md5, kind, released_at)'),
    ('public', 'embedding_evaluations', 'steam_assets_writer', 'SELECT, INSERT'),
    -- Only a table's owner may build and drop its indexes; the others want to know which are there.
    ('public', 'embedding_indexes', 'steam_assets_writer', 'SELECT'),
    ('public', 'embedding_indexes', 'steam_assets_reader', 'SELECT'),
    ('public', 'embedding_projections', 'steam_assets_writer', 'SELECT'),
    ('public', 'embedding_projections', 'steam_assets_reader', 'SELECT'),
    ('public', 'embedding_dropped_indexes', 'steam_assets_writer', 'SELECT'),
    ('public', 'embedding_dropped_indexes', 'steam_assets_reader', 'SELECT');

-- What an earlier version of this file gave, and columns' rights with it, goes first.
SELECT format('REVOKE ALL ON TABLE %I.%I FROM %I', place, name, role)
FROM rights
WHERE to_regclass(format('%I.%I', place, name)) IS NOT NULL
\gexec

SELECT format('GRANT %s ON TABLE %I.%I TO %I', rights, place, name, role)
FROM rights
WHERE to_regclass(format('%I.%I', place, name)) IS NOT NULL
  AND to_regclass('public.embedding_schema') IS NOT NULL
\gexec

SELECT to_regclass('public.embedding_schema') IS NOT NULL AS initialised
\gset
COMMIT;

\if :initialised
    \echo Rights given in :DBNAME
\else
    \echo There are no tables yet in :DBNAME - run `steam-assets init` as steam_assets_owner, then this again.
\endif

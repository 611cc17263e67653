-- A database as the predecessor's scripts left it: published column names, one run, 1024 numbers a vector, HNSW indexes.
-- The rows are made up.
CREATE EXTENSION vector;

CREATE TYPE app_type AS ENUM
    ('game', 'dlc', 'software', 'video', 'demo', 'music', 'advertising', 'mod', 'episode', 'series');
CREATE TYPE platform_type AS ENUM ('windows', 'mac', 'linux');

CREATE TABLE embedding_runs (
    run_id bigint PRIMARY KEY,
    model_name text NOT NULL,
    dimension integer NOT NULL,
    normalized boolean,
    created_at timestamptz,
    notes text,
    CONSTRAINT uq_embedding_run UNIQUE (model_name, dimension, normalized)
);

CREATE TABLE applications (
    appid bigint PRIMARY KEY, steam_appid bigint, name_from_applist text NOT NULL, name text, type app_type,
    is_free boolean, release_date date, required_age text, metacritic_score integer, recommendations_total integer,
    header_image text, background text, detailed_description text, short_description text, about_the_game text,
    supported_languages text,
    combined_text text GENERATED ALWAYS AS (
        COALESCE(name, '') || ' ' || COALESCE(short_description, '') || ' ' || COALESCE(about_the_game, '')) STORED,
    price_overview jsonb, pc_requirements jsonb, mac_requirements jsonb, linux_requirements jsonb,
    content_descriptors jsonb, package_groups jsonb, achievements jsonb, screenshots jsonb, movies jsonb, ratings jsonb,
    base_app_id bigint, success boolean NOT NULL, fetched_at timestamptz, created_at timestamptz, updated_at timestamptz,
    supports_windows boolean, supports_mac boolean, supports_linux boolean,
    initial_price integer, final_price integer, discount_percent integer, currency text, achievement_count integer,
    embedding_run_id bigint REFERENCES embedding_runs (run_id), description_embedding vector(1024),
    mat_supports_windows boolean, mat_supports_mac boolean, mat_supports_linux boolean,
    mat_initial_price integer, mat_final_price integer, mat_discount_percent integer, mat_currency text,
    mat_achievement_count integer,
    mat_pc_os_min text, mat_pc_processor_min text, mat_pc_memory_min text, mat_pc_graphics_min text,
    mat_pc_os_rec text, mat_pc_processor_rec text, mat_pc_memory_rec text, mat_pc_graphics_rec text
);

CREATE TABLE reviews (
    recommendationid text PRIMARY KEY,
    appid bigint NOT NULL REFERENCES applications (appid) ON DELETE CASCADE,
    author_steamid text, author_num_games_owned bigint, author_num_reviews bigint, author_playtime_forever bigint,
    author_playtime_last_two_weeks bigint, author_playtime_at_review bigint, author_last_played bigint,
    language text, review_text text, timestamp_created bigint, timestamp_updated bigint,
    voted_up boolean, votes_up bigint, votes_funny bigint, weighted_vote_score numeric(10, 8), comment_count bigint,
    steam_purchase boolean, received_for_free boolean, written_during_early_access boolean,
    created_at timestamptz, updated_at timestamptz,
    embedding_run_id bigint REFERENCES embedding_runs (run_id), review_embedding vector(1024)
);

INSERT INTO embedding_runs VALUES (7, 'BAAI/bge-m3', 1024, true, '2025-09-28 10:00:00+00', 'first full run');

-- Unit vectors with a few numbers that are not zero, another for each row.
CREATE FUNCTION pg_temp.made_up_vector(seed integer) RETURNS vector LANGUAGE sql AS $$
    SELECT l2_normalize(array_agg(CASE WHEN n % 97 = seed % 97 THEN 1.0 + seed ELSE 0.001 * (n % 7) END ORDER BY n)::vector)
    FROM generate_series(1, 1024) AS n
$$;

INSERT INTO applications
    (appid, name_from_applist, name, type, short_description, about_the_game, success, created_at, updated_at,
     embedding_run_id, description_embedding)
SELECT 10 * n, 'Lantern Valley ' || n, 'Lantern Valley ' || n, 'game', 'Grow leeks, part ' || n || '.',
       CASE WHEN n % 3 = 0 THEN '<p>A quiet farm by a <strong>river</strong>.</p>' END,
       true, '2025-09-01 00:00:00+00', '2025-09-01 00:00:00+00',
       CASE WHEN n <= 8 THEN 7 END, CASE WHEN n <= 8 THEN pg_temp.made_up_vector(n) END
FROM generate_series(1, 10) AS n;

INSERT INTO reviews
    (recommendationid, appid, language, review_text, voted_up, weighted_vote_score, created_at, updated_at,
     embedding_run_id, review_embedding)
SELECT (1000 + 37 * n)::text, 10 * (1 + n % 10), 'english',
       CASE WHEN n % 6 <> 0 THEN 'Review ' || n || ': the leeks are good.' END, n % 2 = 0, 0.5,
       '2025-09-02 00:00:00+00', '2025-09-02 00:00:00+00',
       CASE WHEN n % 6 <> 0 THEN 7 END, CASE WHEN n % 6 <> 0 THEN pg_temp.made_up_vector(100 + n) END
FROM generate_series(1, 20) AS n;

CREATE INDEX idx_applications_description_embedding_hnsw
    ON applications USING hnsw (description_embedding vector_cosine_ops);
CREATE INDEX idx_reviews_review_embedding_hnsw ON reviews USING hnsw (review_embedding vector_cosine_ops);

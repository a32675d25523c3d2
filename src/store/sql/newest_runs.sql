-- Names of the newest runs, for a hint.
SELECT coalesce(name, run_id) FROM runs ORDER BY started_at DESC, run_id LIMIT 5

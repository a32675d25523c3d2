-- The runs a word may mean, newest first: a name, the start of an id, or `last`.
SELECT run_id, name, record, name = $1 AS named
FROM runs WHERE name = $1 OR starts_with(run_id, $1) OR $1 = 'last'
ORDER BY started_at DESC, run_id LIMIT 20

-- When and where loops ran in a span of time: what a repository's commits are held against.
SELECT trace_id, started_at, ended_at, cwd FROM traces
WHERE started_at >= ? AND started_at < ? AND cwd IS NOT NULL AND trace_id NOT IN (SELECT trace_id FROM trials WHERE trace_id IS NOT NULL)
ORDER BY started_at, trace_id

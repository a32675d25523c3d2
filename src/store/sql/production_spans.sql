-- When and where loops ran in a span of time: what a repository's commits are held against. A trace that nobody ended ran until its last call did.
SELECT t.trace_id, t.started_at, t.cwd,
       coalesce(t.ended_at, CASE WHEN t.state <> 'live' THEN greatest(coalesce(c.last_at, t.started_at), t.started_at) END) AS ended_at
FROM traces AS t
LEFT JOIN (
    SELECT trace_id, max(started_at + to_microseconds((coalesce(duration_ms, 0) * 1000)::BIGINT)) AS last_at FROM calls GROUP BY trace_id
) AS c ON c.trace_id = t.trace_id
WHERE t.started_at >= ? AND t.started_at < ? AND t.cwd IS NOT NULL AND t.source <> 'derived'
  AND t.trace_id NOT IN (SELECT trace_id FROM trials WHERE trace_id IS NOT NULL)
ORDER BY t.started_at, t.trace_id

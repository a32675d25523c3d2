-- How tools did in a span of time, the slowest first.
SELECT tool, count(*) AS asked, count(is_error) AS answered, count(*) FILTER (is_error) AS failed,
       quantile_cont(took_ms, 0.5) AS p50_ms, quantile_cont(took_ms, 0.95) AS p95_ms
FROM tool_uses
WHERE asked_at >= ? AND asked_at < ? AND trace_id NOT IN (SELECT trace_id FROM trials WHERE trace_id IS NOT NULL)
  AND trace_id NOT IN (SELECT trace_id FROM traces WHERE source = 'derived')
GROUP BY tool ORDER BY p95_ms DESC NULLS LAST, asked DESC, tool LIMIT 25

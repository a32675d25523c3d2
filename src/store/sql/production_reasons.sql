-- Why loops did not end well in a span of time: reasons that differ only in numbers and ids are one, and each names its newest trace.
SELECT t.outcome, regexp_replace(coalesce(t.reason, c.error, 'no reason was given'), '[0-9a-fA-F]{8,}|[0-9]+', '#', 'g') AS why,
       count(*) AS traces, arg_max(t.trace_id, t.started_at) AS newest_trace
FROM (
    SELECT trace_id, started_at, reason, coalesce(outcome, state) AS outcome FROM traces
    WHERE started_at >= ? AND started_at < ? AND (coalesce(outcome, 'ok') <> 'ok' OR state = 'cut_off')
      AND source <> 'derived' AND trace_id NOT IN (SELECT trace_id FROM trials WHERE trace_id IS NOT NULL)
) AS t
LEFT JOIN (SELECT trace_id, arg_max(error, started_at) AS error FROM calls WHERE error IS NOT NULL GROUP BY trace_id) AS c ON c.trace_id = t.trace_id
GROUP BY t.outcome, why ORDER BY traces DESC, why LIMIT 20

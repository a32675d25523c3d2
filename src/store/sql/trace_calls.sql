-- The calls of one trace in the order they were made.
SELECT call_id, state, started_at, duration_ms, first_content_ms, upstream, model, status, stop, error,
       input_tokens, output_tokens, cache_read_tokens, cost_usd, agent, retry_of, relation, messages, tools_called
FROM calls WHERE trace_id = ? ORDER BY started_at, call_id

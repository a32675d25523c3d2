-- The newest traces with what their calls add up to.
SELECT trace_id, name, agent, state, outcome, started_at, calls, failed_calls, models, input_tokens, output_tokens, cost_usd
FROM trace_summaries
WHERE trace_id IN (SELECT trace_id FROM traces ORDER BY started_at DESC, trace_id LIMIT ?)
ORDER BY started_at DESC, trace_id

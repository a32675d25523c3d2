-- What was spent by day (UTC) and model, the newest day first.
SELECT day, model, upstream, calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_usd, unpriced_calls
FROM cost_by_day ORDER BY day DESC, cost_usd DESC NULLS LAST, model, upstream

-- Tools by how often they were called, in the newest 200,000 tool calls.
SELECT tool AS word, count(*) AS uses FROM tool_calls
WHERE rowid >= (SELECT max(rowid) - 200000 FROM tool_calls)
GROUP BY tool ORDER BY uses DESC, word LIMIT 200

-- Tools by how often they were called.
SELECT tool AS word, count(*) AS uses FROM tool_calls GROUP BY tool ORDER BY uses DESC, word LIMIT 200

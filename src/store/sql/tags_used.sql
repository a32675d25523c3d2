-- Tags by how many traces have them, among the newest 20,000.
SELECT key || '=' || coalesce(json_extract_string(tags, '$."' || key || '"'), '') AS word, count(*) AS uses
FROM (SELECT tags, unnest(json_keys(tags)) AS key FROM traces WHERE rowid >= (SELECT max(rowid) - 20000 FROM traces)) WHERE NOT contains(key, '"')
GROUP BY word ORDER BY uses DESC, word LIMIT 200

-- Forgets what no remaining trace has said or was given.
DELETE FROM setups WHERE setup_id NOT IN (SELECT setup_id FROM calls);
DELETE FROM tools WHERE tool_id NOT IN (SELECT block_id FROM setups);
DELETE FROM messages
WHERE message_id NOT IN (SELECT message_id FROM contexts)
  AND message_id NOT IN (SELECT block_id FROM setups)
  AND message_id NOT IN (SELECT answer_id FROM calls WHERE answer_id IS NOT NULL);
DELETE FROM tool_results WHERE message_id NOT IN (SELECT message_id FROM messages);

-- Reads the tasks of arrays, in order. $1 task type, $2 payloads, $3 times, $4 unique keys, $5 to $8 other arguments of
-- queues.enqueue, $9 queue keys.
select $1, t.payload, t.scheduled_at, t.unique_key, $5, $6, $7, $8, t.queue_key
from unnest($2, $3, $4, $9) as t (payload, scheduled_at, unique_key, queue_key);

-- Returns how many of the calls of tasks $1 are open, and how many of the open ones have no response. $2 the worker
-- that owns them.
select count(*) as open, count(*) filter (where c.responded_at is null) as unanswered
from only queues.call c
where c.task_id = any ($1)
    and c.owner = $2
    and c.request is not null;

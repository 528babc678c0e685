-- Stores the results of calls, before a handler is invoked. $1 tasks, $2 owner, $3 responses, $4 failures.
update only queues.call c
set response = a.response,
    failure = a.failure,
    responded_at = clock_timestamp()
from unnest($1, $3, $4) as a (task_id, response, failure)
where c.task_id = a.task_id
    and c.owner = $2
    and c.request is not null;

-- Stores what came of a call, before any handler sees it. $1 task, $2 owner, $3 answer, $4 failure.
update queues.call
set answer = $3,
    failure = $4,
    answered_at = clock_timestamp()
where task_id = $1
    and owner = $2
    and request is not null;

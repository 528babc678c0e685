-- Moves the ids of tasks and errors of this database far beyond those of replicated rows. $1 id of a replicated task,
-- $2 distance below which that is necessary, $3 distance to leave. If replicated ids are far above the ids of this
-- database, the publisher has left a gap itself.
select setval('queues.task_task_id_seq', least($1, 9223372036854775807 - $3) + $3)
from queues.task_task_id_seq s
where abs(s.last_value::numeric - $1) < $2
union all
select setval(
    'queues.error_error_id_seq',
    least(coalesce(latest.error_id, 0), 9223372036854775807 - $3) + $3
)
from queues.error_error_id_seq s
cross join (select max(e.error_id) as error_id from only queues.error e) latest
-- The table contains errors of this database, too, so their largest id is compared with the sequence.
where s.last_value < $2
    and coalesce(latest.error_id, 0) < $2
    or latest.error_id > s.last_value
    and latest.error_id::numeric - s.last_value < $2;

-- Has the next tasks and errors of this database get numbers far beyond those of replicated ones. $1 the number of a
-- replicated task. $2 how near is too near, $3 how far is far enough. A number that is far above those of this database
-- is none that they come near to: it is that of a database which leaves a gap itself.
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
-- Errors of this database are among them, so these are compared with the last number itself.
where s.last_value < $2
    and coalesce(latest.error_id, 0) < $2
    or latest.error_id > s.last_value
    and latest.error_id::numeric - s.last_value < $2;

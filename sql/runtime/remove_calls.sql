-- After tasks were removed: their calls are removed, too. "gone" is the trigger's transition table.
delete from only queues.call c
using gone
where c.task_id = gone.task_id;

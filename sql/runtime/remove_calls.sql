-- Removes the calls of removed tasks. "gone" is the transition table of the trigger.
delete from only queues.call c
using gone
where c.task_id = gone.task_id;

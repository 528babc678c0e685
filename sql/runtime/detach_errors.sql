-- Removes the task from the errors of removed tasks. "gone" is the transition table of the trigger.
update only queues.error e
set task_id = null
from gone
where e.task_id = gone.task_id;

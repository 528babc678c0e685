-- After tasks were removed: their errors stay, without a task. "gone" is the trigger's transition table.
update only queues.error e
set task_id = null
from gone
where e.task_id = gone.task_id;

-- Tasks were removed: their errors stay, without them. "gone": the tasks, of the trigger that runs this.
update queues.error e
set task_id = null
from gone
where e.task_id = gone.task_id;

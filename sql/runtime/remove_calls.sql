-- Tasks were removed: their calls go. "gone": the tasks, of the trigger that runs this.
delete from queues.call c
using gone
where c.task_id = gone.task_id;

-- Returns the task types of an array of tasks, each with its least and its greatest priority. $1 array of objects.
select
    coalesce(t.task_type, t._task_type) as name,
    min(coalesce(t.priority, t._priority)),
    max(coalesce(t.priority, t._priority))
from jsonb_to_recordset($1) as t (task_type text, _task_type text, priority integer, _priority integer)
group by name;

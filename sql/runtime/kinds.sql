-- All types of tasks.
select k.name, k.processor, k.provider, k.provider_setting, k.granted_to
from queues.task_kind k
order by k.name;

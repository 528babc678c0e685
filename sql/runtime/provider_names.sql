-- The names of all providers.
select p.name
from queues.provider p;

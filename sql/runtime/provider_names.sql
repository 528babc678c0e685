-- Returns the names of all providers.
select p.name
from only queues.provider p;

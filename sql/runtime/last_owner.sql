-- Returns the newest owner of an open call.
select max(c.owner)
from only queues.call c
where c.request is not null;

-- Returns the next error by id. $1 after this one.
select min(e.error_id)
from only queues.error e
where e.error_id > $1;

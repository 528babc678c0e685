-- Redacts a task that has succeeded. $1 task.
select errand.redact($1);

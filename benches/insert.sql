set synchronous_commit = off;
insert into bench.reference (payload) values ('{"db_function": "bench.nothing"}');

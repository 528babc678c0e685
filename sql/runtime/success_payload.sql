-- What a success handler is given.
select jsonb_build_object('original_payload', $1, 'worker_payload', $2);

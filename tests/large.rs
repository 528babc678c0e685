//! Payloads, results and messages of many megabytes pass or are refused, and their memory is released.

use serde_json::json;

use crate::harness::handlers::one;
use crate::harness::mailing::KEY;
use crate::harness::memory;
use crate::harness::probe::{MIB, Probe};
use standin::{Options, Standin};

/// What a worker may have kept of something large, once it is over.
const KEPT: u64 = 32 * MIB;

#[test]
fn a_payload_of_a_hundred_megabytes_passes_through_its_handlers() {
    let mut probe = Probe::start(&[("pg_errand.log_level", "warning")]);
    probe.create(
        "create function public.size(payload jsonb) returns jsonb language sql as $$
             select jsonb_build_object('payload', octet_length(payload ->> 'big'))
         $$;
         create function public.sizes(payload jsonb) returns jsonb language plpgsql as $$
         begin
             insert into public.told (what, payload) values ('sizes', jsonb_build_object(
                 'original', octet_length(payload -> 'original_payload' ->> 'big'),
                 'returned', payload -> 'worker_payload' -> 'payload'));
             return '{}';
         end $$",
    );
    let before = probe.memory();
    let fate = probe.run_built(
        "db_function",
        "jsonb_build_object('db_function', 'public.size', 'success_handler', 'public.sizes', 'big', repeat('x', 100000000))",
    );
    assert_eq!((fate.status.as_str(), fate.errors.len()), ("succeeded", 0), "{fate:?}");
    let told: serde_json::Value = one(&mut probe.client, "select payload from public.told");
    assert_eq!(told, json!({"original": 100_000_000, "returned": 100_000_000}));
    probe.assert_well();
    let after = probe.memory();
    assert!(after < before + KEPT, "{before} became {after}");
}

#[test]
fn results_as_large_as_jsonb_can_be_pass_and_larger_ones_are_errors() {
    let mut probe = Probe::start(&[("pg_errand.log_level", "warning")]);
    probe.create(
        "create function public.give(payload jsonb) returns jsonb language sql as $$
             select jsonb_build_object('payload', repeat(payload ->> 'with', (payload ->> 'bytes')::int))
         $$",
    );
    let before = probe.memory();
    let give = |bytes: u32, with: &str| json!({"db_function": "public.give", "bytes": bytes, "with": with, "success_handler": "public.on_success"});
    let fate = probe.run(give(200_000_000, "x"));
    assert_eq!((fate.status.as_str(), fate.errors.len()), ("succeeded", 0), "{fate:?}");
    assert_eq!(probe.run(give(300_000_000, "x")).refusal(), "54000");
    // Each alone can be held, both together cannot: what its success handler would be given.
    let fate = probe.run_built(
        "db_function",
        "jsonb_build_object('db_function', 'public.give', 'bytes', 150000000, 'with', 'x',
            'success_handler', 'public.on_success', 'big', repeat('x', 150000000))",
    );
    assert_eq!((fate.status.as_str(), fate.errors.len()), ("succeeded", 1), "{fate:?}");
    assert!(fate.errors[0].message.contains("success_handler public.on_success"), "{fate:?}");
    // Six times as long as text, where it would be larger than any text can be.
    assert_eq!(probe.run(give(200_000_000, "\u{1}")).refusal(), "54000");
    probe.assert_well();
    let after = probe.memory();
    assert!(after < before + KEPT, "{before} became {after}");
}

#[test]
fn a_message_of_ten_megabytes_is_recorded_and_told_but_not_logged() {
    let mut probe = Probe::start(&[]);
    probe.create(
        "create function public.rant(payload jsonb) returns jsonb language plpgsql as $$
         begin
             raise exception '%', repeat('x', 10000000)
                 using detail = repeat('y', 10000000), hint = repeat('z', 10000000);
         end $$;
         create function public.confess(payload jsonb) returns jsonb language sql as $$
             select jsonb_build_object('error', repeat('x', 10000000))
         $$;
         create function public.shrug(payload jsonb) returns jsonb language sql as $$
             select jsonb_build_object('validation_failure_message', repeat('x', 10000000))
         $$",
    );
    let mark = probe.cluster.log_mark();
    let mut memory = Vec::new();
    for _ in 0..8 {
        for name in ["public.rant", "public.confess"] {
            let fate = probe.run(json!({"db_function": name, "error_handler": "public.on_error"}));
            assert_eq!((fate.status.as_str(), fate.errors.len()), ("failed", 1), "{fate:?}");
            assert!(fate.errors[0].length > 1000, "{fate:?}");
            let told = "select octet_length(payload ->> 'error') from public.told order by n desc limit 1";
            assert_eq!(one::<i32>(&mut probe.client, told), fate.errors[0].length);
        }
        assert_eq!(probe.run(json!({"db_function": "public.shrug"})).status, "succeeded");
        // An error handler that rants, too.
        let fate = probe.run(json!({"db_function": "public.refuse", "error_handler": "public.rant"}));
        assert_eq!((fate.status.as_str(), fate.errors.len()), ("failed", 2));
        memory.push(probe.memory());
    }
    let longest = probe.cluster.log_since(mark).lines().map(str::len).max().unwrap_or_default();
    assert!(longest < 20_000, "a log line of {longest} bytes");
    probe.assert_well();
    // The allocator of the system keeps some of the first rounds for the next ones.
    let (early, late) = (memory[..4].iter().max(), memory[4..].iter().min());
    assert!(late < early.map(|bytes| bytes + KEPT).as_ref(), "{memory:?}");
}

/// A text that was cut short says how long it was.
#[track_caller]
fn assert_cut(text: &str, bytes: usize) {
    let end = format!("... (truncated, {bytes} bytes in all)");
    assert!(
        text.ends_with(&end),
        "{} bytes, end: {}",
        text.len(),
        text.chars().rev().take(40).collect::<String>()
    );
    assert!(text.len() < 70_000, "{} bytes", text.len());
}

#[test]
fn of_texts_that_say_what_went_wrong_the_first_64_kb_are_kept() {
    let mut probe = Probe::start(&[("pg_errand.log_level", "warning")]);
    probe.create(
        "create function public.rant(payload jsonb) returns jsonb language plpgsql as $$
         begin
             execute 'do $x$ begin ' || repeat(' ', 2000000) || ' raise exception ''%'', repeat(''x'', 2000000)
                 using detail = repeat(''\u{e9}'', 1000000), hint = repeat(''z'', 2000000); end $x$';
         end $$;
         create function public.confess(payload jsonb) returns jsonb language sql as $$
             select jsonb_build_object('error', repeat('x', 2000000))
         $$;
         create function public.shrug(payload jsonb) returns jsonb language sql as $$
             select jsonb_build_object('validation_failure_message', repeat('x', 2000000))
         $$",
    );
    let prefix = "db_function public.rant: ".len();
    probe.run(json!({"db_function": "public.rant", "error_handler": "public.on_error"}));
    let sql = "select error_message, detail, hint, context from queues.error order by error_id desc limit 1";
    let row = probe.client.query_one(sql, &[]).unwrap();
    for (column, bytes) in [(1, 2_000_000), (2, 2_000_000)] {
        assert_cut(row.get(column), bytes);
    }
    let message: String = row.get(0);
    assert!(message.contains("... (truncated, ") && message.len() < 70_000 + prefix, "{}", message.len());
    let context: String = row.get(3);
    assert!(context.contains("... (truncated, ") && context.len() < 70_000, "{}", context.len());
    let told: String = one(&mut probe.client, "select payload ->> 'error' from public.told");
    assert_eq!(told, message);

    probe.run(json!({"db_function": "public.confess"}));
    let recorded = "select error_message from queues.error order by error_id desc limit 1";
    assert!(one::<String>(&mut probe.client, recorded).len() < 70_000);
    probe.run(json!({"db_function": "public.shrug"}));
    let outcome = "select outcome from queues.task where outcome is not null";
    assert_cut(&one::<String>(&mut probe.client, outcome), 2_000_000);
    for call in ["append_error(null, repeat('x', 2000000))", "fail_task(1, repeat('x', 2000000))"] {
        probe.create(&format!("select queues.{call}"));
        assert_cut(&one::<String>(&mut probe.client, recorded), 2_000_000);
    }
    probe.assert_well();
}

#[test]
fn a_mail_of_a_hundred_megabytes_is_refused_clearly_and_harms_no_other() {
    let standin = Standin::start(Options::default()).unwrap();
    let mut probe = Probe::start(&[
        ("pg_errand.log_level", "warning"),
        ("pg_errand.resend_api_key", KEY),
        ("pg_errand.resend_base_url", &standin.url()),
    ]);
    probe.create(
        "create function public.build(payload jsonb) returns jsonb language sql as $$
             select jsonb_build_object('payload', jsonb_build_object(
                 'message_id', 1, 'from_address', 'a@mail.test', 'to_address', 'b@mail.test', 'subject', 's',
                 'html', repeat('x', (payload ->> 'bytes')::int)))
         $$",
    );
    let before = probe.memory();
    memory::forget_peak(probe.pid);
    let mail = |bytes: u32| format!("jsonb_build_object('before_handler', 'public.build', 'bytes', {bytes})");
    // The provider takes no more than 40 MB; what jsonb cannot hold is no request.
    for bytes in [100_000_000, 300_000_000] {
        let fate = probe.run_built("email", &mail(bytes));
        assert_eq!((fate.status.as_str(), fate.errors.len()), ("failed", 1), "{fate:?}");
        assert!(fate.errors[0].length < 2000, "{fate:?}");
    }
    assert_eq!(probe.run_built("email", &mail(10_000_000)).status, "succeeded");
    assert_eq!(standin.mail_count(), 1);
    let peak = memory::peak(probe.pid);
    assert!(peak < 2048 * MIB, "{peak}");
    probe.assert_well();
    let after = probe.memory();
    assert!(after < before + KEPT, "{before} became {after}");
}

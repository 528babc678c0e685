//! An upgraded extension is the same as a fresh one, and the queue survives the upgrade.

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{HANDLERS, one, run_one, task};
use crate::harness::queue::wait_status;

/// The first version.
const FIRST: &str = "0.1.0";

/// Everything that an extension consists of, as text: a line per object and property.
const SHAPE: &str = "
    with member as (
        select d.classid, d.objid
        from pg_depend d
        join pg_extension e on d.refclassid = 'pg_extension'::regclass and d.refobjid = e.oid
        where e.extname = 'pg_errand' and d.deptype = 'e'
    ), relation as (
        select c.* from pg_class c join member m on m.classid = 'pg_class'::regclass and m.objid = c.oid
    ), line as (
        select 'member ' || pg_describe_object(classid, objid, 0) as line from member
        union all
        select format('relation %s %s %s %s %s', oid::regclass, relkind, relacl, reloptions, obj_description(oid, 'pg_class')) from relation
        union all
        select format('column %s %s %s %s %s %s %s %s', attrelid::regclass, attnum, attname, atttypid::regtype, attnotnull,
            attidentity, pg_get_expr(adbin, adrelid), col_description(attrelid, attnum))
        from pg_attribute
        join relation on relation.oid = attrelid
        left join pg_attrdef on adrelid = attrelid and adnum = attnum
        where attnum > 0 and not attisdropped
        union all
        select 'index ' || pg_get_indexdef(indexrelid) from pg_index join relation on relation.oid = indrelid
        union all
        select format('constraint %s %s', conrelid::regclass, pg_get_constraintdef(c.oid))
        from pg_constraint c join relation on relation.oid = conrelid
        union all
        select format('trigger %s %s', tgenabled, pg_get_triggerdef(t.oid))
        from pg_trigger t join relation on relation.oid = tgrelid where not tgisinternal
        union all
        select format('view %s %s', oid::regclass, pg_get_viewdef(oid)) from relation where relkind = 'v'
        union all
        select format('function %s %s %s %s', p.oid::regprocedure, p.proacl, pg_get_functiondef(p.oid),
            obj_description(p.oid, 'pg_proc'))
        from pg_proc p join member m on m.classid = 'pg_proc'::regclass and m.objid = p.oid
        union all
        select format('dumped %s %s', extconfig::regclass[], extcondition) from pg_extension where extname = 'pg_errand'
        union all
        select format('schema %s %s', nspname, nspacl) from pg_namespace where nspname in ('queues', 'internal')
    )
    select array_agg(line order by line) from line";

fn shape(client: &mut Client) -> Vec<String> {
    one(client, SHAPE)
}

#[test]
fn an_upgraded_extension_is_the_same_as_a_fresh_one() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    cluster.psql("postgres", "create database fresh");
    cluster.psql("postgres", "create database upgraded");
    let mut fresh = cluster.connect("fresh");
    fresh.batch_execute("create extension pg_errand").unwrap();
    let mut upgraded = cluster.connect("upgraded");
    upgraded.batch_execute(&format!("create extension pg_errand version '{FIRST}'")).unwrap();
    upgraded.batch_execute("alter extension pg_errand update").unwrap();
    let (fresh, upgraded) = (shape(&mut fresh), shape(&mut upgraded));
    let missing: Vec<_> = fresh.iter().filter(|line| !upgraded.contains(line)).collect();
    let surplus: Vec<_> = upgraded.iter().filter(|line| !fresh.contains(line)).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing: {missing:#?}\nsurplus: {surplus:#?}");
    assert!(fresh.len() > 100, "{fresh:#?}");
}

#[test]
fn tasks_of_an_older_version_wait_for_the_upgrade_and_run_after_it() {
    let cluster = Cluster::start(&[("pg_errand.poll_interval", "1h")]);
    let mut client = cluster.connect("postgres");
    let mark = cluster.log_mark();
    client.batch_execute(&format!("create extension pg_errand version '{FIRST}'")).unwrap();
    client.batch_execute(HANDLERS).unwrap();
    let id = task(&mut client, "note", json!({"label": "old"}));
    let line = cluster.wait_log(mark, "the extension in this database has version");
    assert!(line.contains(FIRST), "{line}");
    for _ in 0..10 {
        task(&mut client, "note", json!({"label": "more"}));
    }
    client.batch_execute("alter extension pg_errand update").unwrap();
    wait_status(&mut client, id, "succeeded");
    run_one(&mut client, "new");
    let log = cluster.log_since(mark);
    assert_eq!(log.matches("the extension in this database has version").count(), 1, "{log}");
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.unadopted"), 0);
}

#[test]
fn grants_on_a_function_whose_signature_changes_are_kept() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = cluster.connect("postgres");
    client
        .batch_execute(
            "create extension pg_errand version '0.4.0';
             create role plain; create role granting; create role other;
             grant execute on function queues.dequeue_next_available_task() to plain;
             grant execute on function queues.dequeue_next_available_task() to granting with grant option;
             alter extension pg_errand update",
        )
        .unwrap();
    let may = |client: &mut Client, role: &str, privilege: &str| {
        let function = "queues.dequeue_next_available_task(text[])";
        one::<bool>(client, &format!("select has_function_privilege('{role}', '{function}', '{privilege}')"))
    };
    assert!(
        may(&mut client, "plain", "execute") && may(&mut client, "granting", "execute with grant option")
    );
    assert!(!may(&mut client, "plain", "execute with grant option") && !may(&mut client, "other", "execute"));
}

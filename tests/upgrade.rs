//! Upgrades and dumps: an upgraded or restored extension is the same as a fresh one.

use std::fs;
use std::path::{Path, PathBuf};

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{HANDLERS, one, run_one, task};
use crate::harness::programs::output;
use crate::harness::queue::wait_status;

/// A property of the extension: the object that has it, and a line of text.
type Property = (String, String);

/// All properties of the extension and of its members.
const SHAPE: &str = "
    with member as (
        select d.classid, d.objid
        from pg_depend d
        join pg_extension e on d.refclassid = 'pg_extension'::regclass and d.refobjid = e.oid
        where e.extname = 'pg_errand' and d.deptype = 'e'
    ), relation as (
        select c.*, c.oid::regclass::text as name
        from pg_class c join member m on m.classid = 'pg_class'::regclass and m.objid = c.oid
    ), property (object, line) as (
        select coalesce(nullif(split_part((pg_identify_object(classid, objid, 0)).identity, '(', 1), ''), 'cast'),
            'member ' || pg_describe_object(classid, objid, 0)
        from member
        union all
        select name, format('relation %s %s %s %s %s', name, relkind, relacl, reloptions, obj_description(oid, 'pg_class'))
        from relation
        union all
        select name, format('column %s %s %s %s %s %s %s %s', name, attnum, attname, atttypid::regtype, attnotnull,
            attidentity, pg_get_expr(adbin, adrelid), col_description(attrelid, attnum))
        from pg_attribute
        join relation on relation.oid = attrelid
        left join pg_attrdef on adrelid = attrelid and adnum = attnum
        where attnum > 0 and not attisdropped
        union all
        select i.indexrelid::regclass::text, 'index ' || pg_get_indexdef(i.indexrelid)
        from pg_index i join relation on relation.oid = i.indrelid
        union all
        select name, format('constraint %s %s', name, pg_get_constraintdef(c.oid))
        from pg_constraint c join relation on relation.oid = conrelid
        union all
        select tgname, format('trigger %s %s', tgenabled, pg_get_triggerdef(t.oid))
        from pg_trigger t join relation on relation.oid = tgrelid
        where not tgisinternal
        union all
        select name, format('view %s %s', name, pg_get_viewdef(oid)) from relation where relkind = 'v'
        union all
        select p.pronamespace::regnamespace || '.' || p.proname,
            format('function %s %s %s %s', p.oid::regprocedure, p.proacl, pg_get_functiondef(p.oid), obj_description(p.oid, 'pg_proc'))
        from pg_proc p join member m on m.classid = 'pg_proc'::regclass and m.objid = p.oid
        union all
        select t.oid::regtype::text, format('type %s %s %s', t.oid::regtype, t.typacl, obj_description(t.oid, 'pg_type'))
        from pg_type t join member m on m.classid = 'pg_type'::regclass and m.objid = t.oid
        union all
        select 'errand.depend_on_schema', 'depends on ' || pg_describe_object(refclassid, refobjid, 0)
        from pg_depend
        where classid = 'pg_extension'::regclass and objid = (select oid from pg_extension where extname = 'pg_errand')
        union all
        select 'pg_extension_config_dump', format('dumped %s %s', extconfig::regclass[], extcondition)
        from pg_extension where extname = 'pg_errand'
        union all
        select 'schema ' || nspname, format('schema %s %s %s', nspname, nspacl, obj_description(oid, 'pg_namespace'))
        from pg_namespace where nspname in ('queues', 'errand', 'internal')
    )
    select object, line from property order by line, object";

fn shape(client: &mut Client) -> Vec<Property> {
    let rows = client.query(SHAPE, &[]).unwrap_or_else(|error| panic!("{error:?}"));
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The files of a folder whose names end so, in order.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(repository().join(folder)).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(ending));
    files.sort();
    files
}

/// The released versions: those whose install script is in `migrations/`.
fn released() -> Vec<String> {
    let version = |path: &PathBuf| {
        let name = path.file_stem()?.to_str()?.strip_prefix("pg_errand--")?.to_owned();
        (!name.contains("--")).then_some(name)
    };
    files("migrations", ".sql").iter().filter_map(version).collect()
}

/// The file of `sql/` that creates an object, relative to the repository.
fn file_of(object: &str) -> String {
    let mentions = |line: &str| {
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        line.match_indices(object).any(|(at, _)| ends(&line[at + object.len()..]))
    };
    let creates = |line: &str| line.trim_start().starts_with("create ") && mentions(line);
    let sources: Vec<_> =
        files("sql", ".sql").into_iter().map(|path| (fs::read_to_string(&path).unwrap(), path)).collect();
    let find = |found: &dyn Fn(&str) -> bool| sources.iter().find(|(text, _)| text.lines().any(found));
    let source = find(&creates).or_else(|| find(&mentions));
    source.map_or("sql/".to_owned(), |(_, path)| {
        path.strip_prefix(repository()).unwrap().to_string_lossy().into_owned()
    })
}

/// Fails with the properties that differ, each with the file that defines it for a fresh installation.
#[track_caller]
fn assert_same(fresh: &[Property], other: &[Property], what: &str) {
    let lines = |of: &[Property], without: &[Property]| -> String {
        let differing = of.iter().filter(|property| !without.contains(property));
        differing.map(|(object, line)| format!("  {}: {line}\n", file_of(object))).collect()
    };
    let (missing, surplus) = (lines(fresh, other), lines(other, fresh));
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "{what} is not the same as a fresh one\nmissing:\n{missing}surplus:\n{surplus}"
    );
    assert!(fresh.len() > 100, "{fresh:#?}");
}

/// A database with the extension as this version installs it.
fn fresh(cluster: &Cluster) -> Client {
    cluster.psql("postgres", "create database fresh");
    let mut client = cluster.connect("fresh");
    client.batch_execute("create extension pg_errand").unwrap();
    client
}

#[test]
fn an_upgraded_extension_is_the_same_as_a_fresh_one() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let fresh = shape(&mut fresh(&cluster));
    for version in released() {
        cluster.psql("postgres", "create database upgraded");
        let mut upgraded = cluster.connect("upgraded");
        upgraded.batch_execute(&format!("create extension pg_errand version '{version}'")).unwrap();
        upgraded.batch_execute("alter extension pg_errand update").unwrap();
        assert_same(
            &fresh,
            &shape(&mut upgraded),
            &format!(
                "the extension after an upgrade from {version} (migrations/pg_errand--{version}--*.sql)"
            ),
        );
        drop(upgraded);
        cluster.psql("postgres", "drop database upgraded");
    }
}

#[test]
fn a_restored_extension_is_the_same_as_a_fresh_one() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = fresh(&cluster);
    client
        .batch_execute(
            "select queues.enqueue('sms', '{\"n\": 1}');
             insert into queues.provider (name, base_url) values ('own', 'https://api.test');
             insert into queues.task_definition (task_type, provider) values ('own', 'own')",
        )
        .unwrap();
    let dump = cluster.socket_dir().join("dump");
    output(cluster.client_program("pg_dump").args(["fresh", "--file"]).arg(&dump));
    cluster.psql("postgres", "create database restored");
    output(
        cluster
            .client_program("psql")
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "restored", "-f"])
            .arg(&dump),
    );
    let mut restored = cluster.connect("restored");
    assert_same(&shape(&mut client), &shape(&mut restored), "the extension that was restored from a dump");
    let rows = "select string_agg(row, e'\\n' order by row) from (
            select to_jsonb(t)::text from queues.task t
            union all
            select to_jsonb(p)::text from queues.provider p
            union all
            select to_jsonb(d)::text from queues.task_definition d
        ) x (row)";
    assert_eq!(one::<String>(&mut client, rows), one::<String>(&mut restored, rows));
}

#[test]
fn tasks_of_an_older_version_wait_for_the_upgrade_and_run_after_it() {
    for version in released() {
        let cluster = Cluster::start(&[("pg_errand.poll_interval", "1h")]);
        let mut client = cluster.connect("postgres");
        let mark = cluster.log_mark();
        client.batch_execute(&format!("create extension pg_errand version '{version}'")).unwrap();
        client.batch_execute(HANDLERS).unwrap();
        let id = task(&mut client, "note", json!({"label": "old"}));
        let line = cluster.wait_log(mark, "the extension in this database has version");
        assert!(line.contains(&version), "{line}");
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
}

#[test]
fn who_may_enqueue_may_do_so_after_an_upgrade() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = cluster.connect("postgres");
    client
        .batch_execute(
            "create extension pg_errand version '0.5.0';
             create role \"an; App\" login; create role other; grant usage on schema queues to \"an; App\";
             grant execute on function queues.enqueue to \"an; App\" with grant option;
             select queues.grant_enqueue('sms', '\"an; App\"');
             alter extension pg_errand update;
             set role \"an; App\"",
        )
        .unwrap();
    one::<i64>(&mut client, "select queues.enqueue('sms', '{}', _unique_key => 'k')");
    client.batch_execute("grant execute on function queues.enqueue to other").unwrap();
    client.batch_execute("set role other").unwrap();
    assert!(client.query("select queues.enqueue_many('[]')", &[]).is_err());
}

#[test]
fn each_object_is_found_in_the_file_that_creates_it() {
    for (object, file) in [
        ("queues.task", "sql/20_task.sql"),
        ("errand.home", "sql/15_home.sql"),
        ("queues.grantee", "sql/48_provider.sql"),
        ("errand.provider_before_write", "sql/48_provider.sql"),
        ("provider_before_emptying", "sql/49_built_in.sql"),
        ("queues.task_status", "sql/85_views.sql"),
        ("schema errand", "sql/10_schemas.sql"),
    ] {
        assert_eq!(file_of(object), file, "{object}");
    }
}

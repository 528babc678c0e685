//! Who may make a report, and what it does not contain.

use postgres::error::SqlState;
use serde_json::json;

use super::{report, section};
use crate::harness::cluster::Cluster;
use crate::harness::handlers::{install, task};
use crate::harness::queue::wait_status;

#[test]
fn messages_are_for_those_who_may_read_them_and_secrets_for_nobody() {
    let cluster =
        Cluster::start(&[("pg_errand.resend_api_key", "re_very_secret"), ("pg_errand.retention", "3d")]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create role operator login; create role watcher login; create role monitor login; create role other login;
             select queues.grant_role('operator', 'operator'); select queues.grant_role('monitor', 'monitor');
             grant pg_monitor to watcher; grant usage on schema queues to other",
        )
        .unwrap();
    let failed = task(&mut client, "refuse", json!({"label": "number 7", "secret": "in the payload"}));
    wait_status(&mut client, failed, "failed");
    for role in ["postgres", "operator", "watcher", "monitor"] {
        let page = report(&mut cluster.connect_as(role, "postgres"), "");
        assert!(!page.contains("re_very_secret") && !page.contains("in the payload"), "{role}");
        let settings = section(&page, "settings");
        assert!(
            settings.contains("pg_errand.resend_api_key") && settings.contains(" set "),
            "{role}: {settings}"
        );
        assert!(settings.contains("pg_errand.retention") && settings.contains("3d"), "{role}: {settings}");
        let failures = section(&page, "failures");
        if ["postgres", "operator"].contains(&role) {
            assert!(failures.contains("refused: number 7") && failures.contains("refused: number &lt;n&gt;"));
        } else {
            assert!(failures.contains("Not here") && failures.contains("operator"), "{role}: {failures}");
            assert!(!page.contains("refused"), "{role}");
        }
        for id in ["problems", "time", "waiting", "types", "providers", "longest", "keys", "settings"] {
            assert!(!section(&page, id).contains("Not here"), "{role}: {}", section(&page, id));
        }
    }
    let mut other = cluster.connect_as("other", "postgres");
    let error = other.query("select queues.report()", &[]).unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    // Execute alone opens what is read as the owner, and neither messages nor what the views show.
    client.batch_execute("grant execute on function queues.report to other").unwrap();
    let page = report(&mut other, "");
    assert!(section(&page, "problems").contains("permission denied for view worker"), "{page}");
    assert!(!page.contains("refused"));
}

#[test]
fn a_span_has_to_be_a_span() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = install(&cluster, "postgres");
    for span in [
        "null",
        "now()",
        "now() + interval '1 day'",
        "'-infinity'",
        "now() - interval '400 days'",
        "now() - interval '1 day', 'infinity'",
    ] {
        let error = client.query(&format!("select queues.report({span})"), &[]).expect_err(span);
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "22023", "{span}: {error:?}");
        assert!(error.hint().is_some_and(|hint| hint.contains("SELECT queues.report")), "{span}");
    }
    for span in
        ["now() - interval '366 days'", "now() - interval '2 minutes'", "now(), now() + interval '1 hour'"]
    {
        report(&mut client, span);
    }
}

//! The checks: what sessions were told against what there is.

use std::collections::HashMap;
use std::time::Duration;

use super::book::{Entry, Fate};
use super::evidence::{AllEvidence, ErrorRow, Evidence};
use super::history::History;
use super::kinds::{Ends, GIVEN_UP, NEXT, SUPERVISING, next_label};
use super::outside::REFUSAL;

/// A cancel that was acknowledged may be forgotten if the server goes down before it was carried out. Handlers are
/// interrupted again and again, and their workers ended after a second; a server that stops takes some time, too.
const CANCEL_TAKES: Duration = Duration::from_secs(5);

/// Errors that faults explain, whatever the task.
const INTERFERENCE: [&str; 4] = [
    "canceling statement due to user request",
    GIVEN_UP,
    "interrupted after pg_errand.handler_timeout",
    REFUSAL,
];

/// What is wrong, in three heaps.
#[derive(Default)]
pub struct Findings {
    pub lost: Vec<String>,
    pub doubled: Vec<String>,
    pub wrong: Vec<String>,
    /// Cancels that were acknowledged, and forgotten because the server went down at that moment.
    pub forgotten: usize,
}

/// Checks every task. `entries`: the client's accounts.
pub fn judge(entries: &HashMap<String, Entry>, evidence: &AllEvidence, history: &History) -> Findings {
    let entries = &with_next_ones(entries, evidence);
    let mut findings = Findings::default();
    let nothing = Evidence::default();
    let mut transactions: HashMap<u64, (bool, bool)> = HashMap::new();
    for (label, entry) in entries {
        let seen = evidence.get(label).unwrap_or(&nothing);
        let whole = transactions.entry(entry.transaction).or_default();
        if seen.rows > 0 {
            whole.0 = true
        } else {
            whole.1 = true
        }
        let about = |what: &str| format!("{label} ({}, {:?}): {what}; {seen:?}", entry.kind.name, entry.fate);
        match (entry.fate, seen.rows) {
            (Fate::Committed, 0) => findings.lost.push(about("its transaction was committed")),
            (Fate::RolledBack, 1..) => findings.wrong.push(about("its transaction was rolled back")),
            (_, 0) if leaves_trace(seen) => {
                findings.wrong.push(about("it has run, but was never in the queue"))
            }
            (_, 0) => {}
            (_, 1) => {
                doubles(seen, |what| findings.doubled.push(about(what)));
                end(entry, seen, history, |what| findings.wrong.push(about(what)));
                mails(entry, seen, |what| findings.wrong.push(about(what)));
                let acknowledged = entry.cancels.iter().any(|(_, sure)| *sure);
                findings.forgotten += usize::from(acknowledged && seen.status != "cancelled");
            }
            (_, _) => findings.doubled.push(about("more than one task has its label")),
        }
    }
    let torn = transactions.iter().filter(|(_, (present, absent))| *present && *absent);
    findings.wrong.extend(torn.map(|(number, _)| format!("transaction {number} is in the queue in part")));
    let unknown = evidence.keys().filter(|label| !entries.contains_key(*label));
    findings.wrong.extend(unknown.map(|label| format!("{label}: nobody has enqueued it")));
    findings
}

/// With the tasks that supervising ones have enqueued, if they have left their effect inside.
fn with_next_ones(entries: &HashMap<String, Entry>, evidence: &AllEvidence) -> HashMap<String, Entry> {
    let mut all = entries.clone();
    for (label, _) in entries.iter().filter(|(_, entry)| entry.kind.name == SUPERVISING) {
        let done = evidence.get(label).is_some_and(|seen| seen.effects > 0);
        let fate = if done { Fate::Committed } else { Fate::RolledBack };
        // A number for each transaction that no other has.
        let transaction = u64::MAX - all.len() as u64;
        all.insert(next_label(label), Entry { kind: NEXT, transaction, fate, cancels: Vec::new() });
    }
    all
}

fn leaves_trace(seen: &Evidence) -> bool {
    seen.effects + seen.outside + seen.bulk + seen.success_handled + seen.error_handled > 0
        || !seen.requests.is_empty()
}

fn doubles(seen: &Evidence, mut report: impl FnMut(&str)) {
    if seen.effects + seen.outside > 1 {
        report("more than one effect");
    }
    if seen.success_handled + seen.error_handled > 1 {
        report("its last handlers have run more than once");
    }
    if seen.mails.len() > 1 {
        report("more than one mail");
    }
    if seen.requests.windows(2).any(|pair| pair[0] != pair[1]) {
        report("requests with different keys or bodies");
    }
    if seen.bulk > 2000 {
        report("more than all of its rows");
    }
}

/// How it ended, and whether what it has left fits that.
fn end(entry: &Entry, seen: &Evidence, history: &History, mut report: impl FnMut(&str)) {
    let kind = entry.kind;
    let outside = seen.outside == 1;
    let ran_inside = i64::from(!outside);
    let explained = seen.errors.iter().all(|error| explains(entry, error));
    let expected_effects = match seen.status.as_str() {
        "succeeded" => {
            if matches!(kind.ends, Ends::Badly(_)) && !outside {
                report("it should have failed");
            }
            // A success handler that has failed has left an error and nothing else.
            let handled = seen.errors.is_empty() && handler(entry, "success_handler") && !outside;
            if seen.success_handled != i64::from(handled) || seen.error_handled != 0 {
                report("it has succeeded: its handlers");
            }
            if kind.success_fails && seen.errors.is_empty() && !outside {
                report("the failure of its success handler was not recorded");
            }
            ran_inside * i64::from(kind.leaves_effect())
        }
        "failed" => {
            if seen.errors.is_empty() {
                report("it has failed without an error");
            }
            let refused = seen.errors.iter().any(|error| error.message == REFUSAL);
            let given_up = entry.kind.task_type != "db_function" && gave_up(seen);
            let handled = seen.errors.len() == 1 && handler(entry, "error_handler") && !refused && !given_up;
            let optional = given_up && seen.error_handled == 1;
            if (seen.error_handled != i64::from(handled) && !optional) || seen.success_handled != 0 {
                report("it has failed: its handlers");
            }
            0
        }
        "cancelled" => {
            if entry.cancels.is_empty() {
                report("nobody has cancelled it");
            }
            if seen.success_handled + seen.error_handled > 0 {
                report("it was cancelled: its handlers");
            }
            0
        }
        _ => return,
    };
    if seen.effects != expected_effects {
        report("its effects");
    }
    if kind.name == "writing much" && seen.bulk != 2000 * expected_effects {
        report("its rows");
    }
    if !explained {
        report("an error that nothing explains");
    }
    if seen.early {
        report("it has started before it was due");
    }
    if seen.status != "cancelled" && seen.attempts < 1 {
        report("it has ended without a start");
    }
    if seen.status != "cancelled" && broken_promise(entry, history) {
        report("its cancel was acknowledged");
    }
}

fn mails(entry: &Entry, seen: &Evidence, mut report: impl FnMut(&str)) {
    let outside = seen.outside == 1;
    if let Some((open, answered)) = seen.call {
        if open {
            report("its call is still open");
        }
        if !answered && seen.status != "cancelled" {
            report("its call has no answer");
        }
    }
    if entry.kind.task_type != "email" {
        return;
    }
    if seen.status == "succeeded" && !outside && seen.mails.len() != 1 {
        report("it has succeeded: its mails");
    }
    if outside && !seen.requests.is_empty() {
        report("a worker outside had it, and so had the provider");
    }
    if matches!(entry.kind.ends, Ends::Badly(_)) && !seen.requests.is_empty() {
        report("the provider was asked although there was nothing to send");
    }
    if let (Some(answer), Some((_, id))) = (&seen.answer, seen.mails.first())
        && answer != id
    {
        report("its success handler saw another answer");
    }
}

/// Whether the payload of its kind names this handler.
fn handler(entry: &Entry, name: &str) -> bool {
    (entry.kind.fields)(&mut fastrand::Rng::with_seed(0)).get(name).is_some()
}

fn gave_up(seen: &Evidence) -> bool {
    seen.errors.iter().any(|error| error.message.contains(GIVEN_UP))
}

fn explains(entry: &Entry, error: &ErrorRow) -> bool {
    let holds = |part: &&str| error.message.contains(*part);
    let usual = match entry.kind.ends {
        Ends::Well => false,
        Ends::Badly(part) => holds(&part),
        Ends::Either(parts) => parts.iter().any(holds),
    };
    let at_the_end = entry.kind.success_fails && error.handler.as_deref() == Some("app.on_success_raise");
    usual || at_the_end || INTERFERENCE.iter().any(holds)
}

/// True if a cancel was acknowledged, and the server did not go down before it was carried out.
fn broken_promise(entry: &Entry, history: &History) -> bool {
    let downs = history.downs();
    let excused = |at| downs.iter().any(|down| *down >= at && *down <= at + CANCEL_TAKES);
    entry.cancels.iter().any(|(at, sure)| *sure && !excused(*at))
}

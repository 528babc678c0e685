//! The kinds of tasks, and how each may end when nobody interferes.

use fastrand::Rng;
use serde_json::{Value, json};

/// How a task ends if no fault hits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// It succeeds.
    Well,
    /// It fails, with an error that holds this.
    Badly(&'static str),
    /// It succeeds or fails with an error that holds one of these.
    Either(&'static [&'static str]),
}

/// A kind of task.
pub struct Kind {
    /// What the report calls it.
    pub name: &'static str,
    /// How often it is chosen, compared to the others.
    pub weight: u32,
    pub task_type: &'static str,
    pub ends: Ends,
    /// Its success handler always fails.
    pub success_fails: bool,
    /// The handlers and what they need.
    pub fields: fn(&mut Rng) -> Value,
}

impl Kind {
    /// True if a run of it inside leaves a row in `app.effect`.
    pub fn leaves_effect(&self) -> bool {
        self.task_type == "db_function"
    }

    /// The payload of a task of this kind.
    pub fn payload(&self, label: &str, rng: &mut Rng) -> Value {
        let mut payload = (self.fields)(rng);
        payload["task_type"] = json!(self.task_type);
        payload["label"] = json!(label);
        if self.name == SUPERVISING {
            payload["next"] = json!(next_label(label));
        }
        payload
    }
}

/// The kind that enqueues tasks of its own.
pub const SUPERVISING: &str = "supervising";

/// The label of the task that a supervising one enqueues.
pub fn next_label(label: &str) -> String {
    format!("{label}/next")
}

/// The kind of tasks that no session chooses: those that supervising ones enqueue, and those of a roll call.
pub const NEXT: &Kind = &function("by itself", 0, Ends::Well, |_| json!({"db_function": "app.work"}));

/// The error of a task whose worker has ended too often.
pub const GIVEN_UP: &str = "times while it ran; it is not run again";
/// Errors of a function that is dropped while it is called.
const GONE: &[&str] = &["app.fleeting", "cache lookup failed for function"];
/// Errors that a handler repeats ten times at most.
const EXHAUSTED: &[&str] = &["stumbled", "deadlock detected"];
/// What the provider did, as error messages begin.
const PROVIDER: &[&str] = &["resend: "];
const PROVIDER_OR_EXHAUSTED: &[&str] = &["resend: ", "stumbled"];

/// Every kind.
pub const KINDS: &[Kind] = &[
    function("plain", 30, Ends::Well, |_| json!({"db_function": "app.work"})),
    function("with handlers", 20, Ends::Well, |_| with_handlers(json!({"db_function": "app.work"}))),
    function("declining", 5, Ends::Well, |_| with_handlers(json!({"db_function": "app.decline"}))),
    function("raising", 8, Ends::Badly("deliberate"), |_| with_handlers(json!({"db_function": "app.raise"}))),
    function("failing", 5, Ends::Badly("deliberate"), |_| {
        with_handlers(json!({"db_function": "app.return_error"}))
    }),
    function("clashing", 5, Ends::Badly("single_k_key"), |_| {
        with_handlers(json!({"db_function": "app.clash"}))
    }),
    function("stumbling", 10, Ends::Either(EXHAUSTED), |_| {
        with_handlers(json!({"db_function": "app.stumble"}))
    }),
    function(
        "stumbling at the end",
        6,
        Ends::Either(EXHAUSTED),
        |_| json!({"db_function": "app.work", "success_handler": "app.on_success_stumble"}),
    ),
    function("tangling", 10, Ends::Either(EXHAUSTED), |rng| {
        let first = rng.i32(0..4);
        let second = (first + rng.i32(1..4)) % 4;
        with_handlers(json!({"db_function": "app.tangle", "first": first, "second": second}))
    }),
    function("slow", 12, Ends::Well, |rng| {
        with_handlers(json!({"db_function": "app.nap", "seconds": rng.f64()}))
    }),
    function("writing much", 5, Ends::Well, |_| with_handlers(json!({"db_function": "app.write_much"}))),
    function("littering", 5, Ends::Well, |_| json!({"db_function": "app.litter"})),
    function("fleeting", 8, Ends::Either(GONE), |_| with_handlers(json!({"db_function": "app.fleeting"}))),
    function(SUPERVISING, 8, Ends::Well, |rng| {
        let delay = if rng.bool() { 0.0 } else { rng.f64() };
        json!({"db_function": "app.supervise", "delay": delay})
    }),
    function("deadly", 2, Ends::Badly(GIVEN_UP), |_| with_handlers(json!({"db_function": "app.die"}))),
    function("stubborn", 4, Ends::Well, |_| with_handlers(json!({"db_function": "app.be_stubborn"}))),
    Kind {
        name: "spoilt at the end",
        success_fails: true,
        ..function(
            "",
            4,
            Ends::Well,
            |_| json!({"db_function": "app.work", "success_handler": "app.on_success_raise"}),
        )
    },
    mail("mail", 30, Ends::Either(PROVIDER), |_| with_handlers(json!({"before_handler": "app.build_mail"}))),
    mail("mail without handlers", 5, Ends::Either(PROVIDER), |_| json!({"before_handler": "app.build_mail"})),
    mail(
        "mail stumbling at the end",
        6,
        Ends::Either(PROVIDER_OR_EXHAUSTED),
        |_| json!({"before_handler": "app.build_mail", "success_handler": "app.on_success_stumble"}),
    ),
    Kind {
        success_fails: true,
        ..mail(
            "mail deadly at the end",
            2,
            Ends::Either(PROVIDER),
            |_| json!({"before_handler": "app.build_mail", "success_handler": "app.on_success_die"}),
        )
    },
    mail("mail never built", 4, Ends::Badly("deliberate"), |_| {
        with_handlers(json!({"before_handler": "app.raise"}))
    }),
    Kind {
        task_type: "sms",
        ..mail("text message", 8, Ends::Well, |_| {
            with_handlers(json!({"before_handler": "app.build_message"}))
        })
    },
];

const fn function(name: &'static str, weight: u32, ends: Ends, fields: fn(&mut Rng) -> Value) -> Kind {
    Kind { name, weight, task_type: "db_function", ends, success_fails: false, fields }
}

const fn mail(name: &'static str, weight: u32, ends: Ends, fields: fn(&mut Rng) -> Value) -> Kind {
    Kind { name, weight, task_type: "email", ends, success_fails: false, fields }
}

fn with_handlers(mut fields: Value) -> Value {
    fields["success_handler"] = json!("app.on_success");
    fields["error_handler"] = json!("app.on_error");
    fields
}

//! Resend's `POST /emails` and `POST /emails/batch`.

mod address;
mod check;
mod fields;
mod ledger;
mod patterns;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::service::{Service, Verdict};
use crate::{Answer, Behaviour, Options, Request};
use check::Checks;
pub use ledger::Mail;
use ledger::{Ledger, Standing};

/// Chooses how a mail is answered.
pub(crate) type Rule = Box<dyn FnMut(&Submission) -> Option<Behaviour> + Send>;

/// A mail that passed all checks, as rules see it.
#[derive(Debug)]
pub struct Submission<'a> {
    /// The request that carries it.
    pub request: &'a Request,
    /// The request's JSON body: the mail, or an array of mails.
    pub body: &'a Value,
    /// How many earlier requests carried the same idempotency key.
    pub earlier_with_key: usize,
}

impl Submission<'_> {
    /// The recipients in `to`, as written.
    pub fn to(&self) -> Vec<&str> {
        strings(&self.body["to"])
    }

    /// Whether `recipient` is in `to`, written exactly like this.
    pub fn is_to(&self, recipient: &str) -> bool {
        self.to().contains(&recipient)
    }

    /// Whether this is the first request with its idempotency key.
    pub fn is_first(&self) -> bool {
        self.earlier_with_key == 0
    }
}

/// A string, or an array of them, as a list.
pub(crate) fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The state behind the interface.
pub(crate) struct Resend {
    checks: Checks,
    ledger: Mutex<Ledger>,
    rules: Mutex<Vec<Rule>>,
    mailbox: Option<Mutex<File>>,
    delay: Duration,
}

impl Resend {
    /// # Errors
    /// If the mailbox cannot be opened.
    pub(crate) fn new(options: &Options) -> io::Result<Self> {
        let open = |path| OpenOptions::new().create(true).append(true).open(path).map(Mutex::new);
        Ok(Self {
            checks: Checks::new(options),
            ledger: Mutex::default(),
            rules: Mutex::default(),
            mailbox: options.mailbox.as_ref().map(open).transpose()?,
            delay: options.delay,
        })
    }

    pub(crate) fn mails(&self) -> Vec<Mail> {
        self.ledger.lock().unwrap().mails.clone()
    }

    pub(crate) fn mail_count(&self) -> usize {
        self.ledger.lock().unwrap().mails.len()
    }

    pub(crate) fn clear(&self) {
        self.ledger.lock().unwrap().mails.clear();
    }

    pub(crate) fn forget_keys(&self) {
        self.ledger.lock().unwrap().forget_keys();
    }

    pub(crate) fn add_rule(&self, rule: Rule) {
        self.rules.lock().unwrap().insert(0, rule);
    }

    pub(crate) fn clear_rules(&self) {
        self.rules.lock().unwrap().clear();
    }

    fn behaviour(&self, submission: &Submission) -> Behaviour {
        let mut rules = self.rules.lock().unwrap();
        let chosen = rules.iter_mut().find_map(|rule| rule(submission));
        let usual = || Behaviour::usual().after(self.delay);
        chosen.or_else(|| patterns::behaviour(submission)).unwrap_or_else(usual)
    }

    /// What a request that passed all checks comes to.
    fn take(&self, request: &Request, body: &Value) -> Verdict {
        let key = request.header("Idempotency-Key");
        let earlier_with_key = self.ledger.lock().unwrap().count_use(key);
        let behaviour = self.behaviour(&Submission { request, body, earlier_with_key });
        let mut ledger = self.ledger.lock().unwrap();
        match ledger.standing(key, &request.body) {
            Standing::OtherBody => Verdict::plain(other_body()),
            Standing::InProgress => Verdict::plain(in_progress()),
            Standing::Answered(usual) => Verdict { usual, behaviour, key: None },
            Standing::New => {
                let bodies = body.as_array().map_or(std::slice::from_ref(body), Vec::as_slice);
                let mails: Vec<Mail> = bodies.iter().map(|body| Mail::new(request, body)).collect();
                let ids: Vec<Value> = mails.iter().map(|mail| json!({"id": mail.id})).collect();
                let usual = if body.is_array() {
                    Answer::json(200, &json!({"data": ids}))
                } else {
                    Answer::json(200, &ids[0])
                };
                ledger.begin(key, &request.body);
                if behaviour.accepts {
                    mails.iter().for_each(|mail| self.deliver(mail));
                    ledger.mails.extend(mails);
                }
                Verdict { usual, behaviour, key: key.map(str::to_owned) }
            }
        }
    }

    fn deliver(&self, mail: &Mail) {
        if let Some(mailbox) = &self.mailbox {
            let line = format!("{}\n", mail.to_json());
            mailbox.lock().unwrap().write_all(line.as_bytes()).expect("writing to the mailbox");
        }
    }
}

impl Service for Resend {
    fn judge(&self, request: &Arc<Request>) -> Verdict {
        match self.checks.check(request) {
            Ok(body) => self.take(request, body),
            Err(refusal) => Verdict::plain(refusal),
        }
    }

    fn settle(&self, verdict: &Verdict) {
        if let Some(key) = &verdict.key {
            let answer = verdict.behaviour.accepts.then(|| verdict.usual.clone());
            self.ledger.lock().unwrap().settle(key, answer);
        }
    }
}

fn other_body() -> Answer {
    Answer::error(
        409,
        "invalid_idempotent_request",
        "This idempotency key was used with another request body.",
    )
}

fn in_progress() -> Answer {
    Answer::error(
        409,
        "concurrent_idempotent_requests",
        "A request with this idempotency key is still in progress.",
    )
}

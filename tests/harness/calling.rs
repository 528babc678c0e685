//! The fixture of tests of calls by HTTP: a cluster whose workers may call a server on loopback, and that server.

use postgres::{Client, Error};
use serde_json::{Value, json};
use standin::{Answer, Request, Web};

use super::cluster::Cluster;
use super::mailing::prepare;
use super::queue;

/// A cluster, a superuser's session in its database `postgres`, and the server that is called.
pub struct Calling {
    pub client: Client,
    pub cluster: Cluster,
    pub web: Web,
}

impl Calling {
    /// Starts a cluster, and a server that responds as the closure says.
    #[track_caller]
    pub fn start(settings: &[(&str, &str)], rule: impl FnMut(&Request) -> Answer + Send + 'static) -> Self {
        let web = Web::start(rule).unwrap();
        let cluster = Cluster::start(settings);
        let mut client = cluster.connect("postgres");
        prepare(&mut client);
        Self { client, cluster, web }
    }

    /// Starts a cluster, and a server that responds with status 200 and `{"ok": true}`.
    #[track_caller]
    pub fn friendly(settings: &[(&str, &str)]) -> Self {
        Self::start(settings, |_| ok())
    }

    /// Registers the server as a provider with these fields, and a task type, both of this name.
    #[track_caller]
    pub fn register(&mut self, name: &str, fields: Value) {
        let fields = at(&self.web, fields);
        register(&mut self.client, name, &fields).unwrap_or_else(|error| panic!("{fields}: {error:?}"));
    }

    /// Enqueues a task with this request; returns its id.
    #[track_caller]
    pub fn call(&mut self, task_type: &str, request: Value) -> i64 {
        queue::enqueue(&mut self.client, task_type, json!({"task_type": task_type, "request": request}))
    }

    /// Enqueues a task with this request and with handlers for success and error; returns its id.
    #[track_caller]
    pub fn call_handled(&mut self, task_type: &str, request: &Value) -> i64 {
        queue::enqueue(&mut self.client, task_type, handled(task_type, request))
    }

    /// Waits until a task has this status.
    #[track_caller]
    pub fn wait(&mut self, task_id: i64, status: &str) {
        queue::wait_status(&mut self.client, task_id, status);
    }

    /// Enqueues a task with this request, and waits until it has succeeded.
    #[track_caller]
    pub fn succeed(&mut self, task_type: &str, request: Value) -> i64 {
        let task_id = self.call(task_type, request);
        self.wait(task_id, "succeeded");
        task_id
    }

    /// Enqueues a task with this request, waits until it has failed, and returns its only error.
    #[track_caller]
    pub fn fail(&mut self, task_type: &str, request: Value) -> String {
        let task_id = self.call(task_type, request);
        self.error(task_id)
    }

    /// Returns the message of a failed task's only error.
    #[track_caller]
    pub fn error(&mut self, task_id: i64) -> String {
        self.wait(task_id, "failed");
        let mut errors = queue::errors(&mut self.client, task_id);
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors.remove(0).error_message
    }

    /// Returns what `queues.result` returns for a task.
    #[track_caller]
    pub fn result(&mut self, task_id: i64) -> Option<Value> {
        self.client.query_one("select queues.result($1)", &[&task_id]).unwrap().get(0)
    }

    /// Returns the payloads that the `success` or `error` handlers received, oldest first.
    #[track_caller]
    pub fn seen(&mut self, handler: &str) -> Vec<Value> {
        let sql = "select payload from app.seen where handler = $1 order by seen_id";
        self.client.query(sql, &[&handler]).unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// Returns the number that a query returns.
    #[track_caller]
    pub fn number(&mut self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }

    /// Returns a header of the last request.
    pub fn last_header(&self, name: &str) -> Option<String> {
        self.web.requests().last()?.request.header(name).map(str::to_owned)
    }

    /// Creates a directory that the PostgreSQL server's user can read.
    #[track_caller]
    pub fn directory(&self, name: &str) -> std::path::PathBuf {
        let path = self.cluster.data_dir().with_file_name(name);
        std::fs::create_dir(&path).unwrap();
        crate::harness::programs::give_to_server_user(&path);
        path
    }
}

/// A response with status 200 and `{"ok": true}`.
pub fn ok() -> Answer {
    Answer::json(200, &json!({"ok": true}))
}

/// Returns the fields of a provider at the address of a server.
pub fn at(web: &Web, mut fields: Value) -> Value {
    fields["base_url"] = web.url().into();
    fields
}

/// Returns the payload of a task with this request, whose handlers record their payloads.
pub fn handled(task_type: &str, request: &Value) -> Value {
    json!({
        "task_type": task_type, "request": request,
        "success_handler": "app.on_success", "error_handler": "app.on_error",
    })
}

/// Inserts a provider with these fields, and a task type of the same name.
///
/// # Errors
/// If the server reports an error.
pub fn register(client: &mut Client, name: &str, fields: &Value) -> Result<(), Error> {
    insert_provider(client, name, fields)?;
    client
        .execute("insert into queues.task_definition (task_type, provider) values ($1, $1)", &[&name])
        .map(drop)
}

/// Inserts a provider with these fields.
///
/// # Errors
/// If the server reports an error.
pub fn insert_provider(client: &mut Client, name: &str, fields: &Value) -> Result<(), Error> {
    let mut fields = fields.clone();
    fields["name"] = name.into();
    let columns: Vec<_> = fields.as_object().unwrap().keys().cloned().collect();
    let columns = columns.join(", ");
    let sql = format!(
        "insert into queues.provider ({columns})
        select {columns} from jsonb_populate_record(null::queues.provider, $1)"
    );
    client.execute(&sql, &[&fields]).map(drop)
}

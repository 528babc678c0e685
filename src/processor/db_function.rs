//! `db_function`: the task is a function in the database.

use super::contract::{Context, Processor, Product, Started};
use crate::envelope::Verdict;
use crate::error::Failure;
use crate::handler::{Returned, Stop};
use crate::task::Task;

const NAME_A_FUNCTION: &str =
    r#"Enqueue a task with the right payload, such as {"db_function": "my_schema.my_function"}."#;

pub struct DbFunction;

impl Processor for DbFunction {
    fn name(&self) -> &'static str {
        "db_function"
    }

    fn calls(&self) -> bool {
        false
    }

    fn start(&self, task: &Task, context: &mut Context) -> Result<Started, Stop> {
        let Some(name) = &task.db_function else {
            let reason = "db_function is missing in the payload; it has to name the function to run";
            let failure = Failure::new("22023", "db_function", reason);
            return Ok(Started::Done(Err(failure.with_hint(NAME_A_FUNCTION))));
        };
        let returned = context.invoke(task, "db_function", name, task.payload)?;
        Ok(Started::Done(returned.and_then(|returned| product(name, returned))))
    }
}

fn product(name: &str, returned: Returned) -> Result<Product, Failure> {
    let worker_payload = returned.value;
    match returned.verdict() {
        Verdict::Success => Ok(Product { worker_payload, outcome: None }),
        Verdict::Unsuccessful(outcome) => Ok(Product { worker_payload, outcome: Some(outcome) }),
        Verdict::Failure(reason) => {
            let failure = Failure::new("P0001", &format!("db_function {name}"), &reason.text);
            Err(failure.with_hint(reason.hint).of_handler(name))
        }
    }
}

//! `db_function`: the task is a function of the database.

use super::{Context, Processor, Product, Started};
use crate::envelope::Verdict;
use crate::error::Failure;
use crate::handler::{Returned, Stop};
use crate::task::Task;

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
            return Ok(Started::Done(Err(Failure::new("22023", "db_function", reason))));
        };
        let returned = context.call(task, "db_function", name, task.payload)?;
        Ok(Started::Done(returned.and_then(|returned| product(name, returned))))
    }
}

fn product(name: &str, returned: Returned) -> Result<Product, Failure> {
    let worker_payload = returned.value;
    match returned.verdict() {
        Verdict::Success => Ok(Product { worker_payload, outcome: None }),
        Verdict::Unsuccessful(outcome) => Ok(Product { worker_payload, outcome: Some(outcome) }),
        Verdict::Failure(reason) => {
            Err(Failure::new("P0001", &format!("db_function {name}"), &reason).of_handler(name))
        }
    }
}

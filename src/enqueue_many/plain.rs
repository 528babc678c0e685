//! Enqueues an array of plain tasks without a statement.

use crate::enqueue::{self, Request};
use crate::pg::jsonb_field::Field;
use crate::pg::jsonb_parts::{Part, Parts};
use crate::pg::time;
use crate::plain_task;
use pgrx::{IntoDatum, pg_sys};
use std::collections::BTreeSet;

/// A task without a unique key and with priority 0.
struct Plain {
    task_type: Field,
    payload: Option<Field>,
    scheduled_at: Option<Field>,
}

/// Enqueues a task for each object of an array and returns their ids in order; `None`, without a change, unless all of
/// them are plain and can be inserted without a statement.
pub fn enqueue(tasks: pg_sys::Datum) -> Option<Vec<i64>> {
    let tasks: Vec<Plain> = Parts::of_array(tasks)?.map(plain).collect::<Option<_>>()?;
    let types: Option<BTreeSet<&str>> = tasks.iter().map(|task| task.task_type.as_str()).collect();
    let owner = enqueue::owner();
    types?.into_iter().for_each(|task_type| enqueue::check_type(Some(task_type)));
    plain_task::may_insert(owner).then(|| tasks.iter().map(|task| write(owner, task)).collect())
}

/// The task of an object; `None` if it is no plain one, or has a value that has to be converted or refused.
fn plain(part: Part) -> Option<Plain> {
    let Part::Value(object) = part else { return None };
    let (mut task_type, mut payload, mut scheduled_at) = (None, None, None);
    let mut parts = Parts::of_object(&object)?;
    while let (Some(Part::Key(key)), Some(Part::Value(value))) = (parts.next(), parts.next()) {
        let place = match key.as_str()? {
            "task_type" | "_task_type" => &mut task_type,
            "payload" | "_payload" => &mut payload,
            "scheduled_at" | "_scheduled_at" => &mut scheduled_at,
            _ => return None,
        };
        // A key may be there with an underscore, too.
        if place.replace(value).is_some() {
            return None;
        }
    }
    let scheduled_at = scheduled_at.filter(|value| !value.is_null());
    if scheduled_at.as_ref().is_some_and(|value| value.as_str().is_none()) {
        return None;
    }
    Some(Plain { task_type: task_type?, payload: payload.filter(|value| !value.is_null()), scheduled_at })
}

fn write(owner: pg_sys::Oid, task: &Plain) -> i64 {
    let task_type = task.task_type.as_str().unwrap_or_default();
    let scheduled_at = task.scheduled_at.as_ref().and_then(Field::as_str);
    let request = Request {
        task_type: task_type.into_datum(),
        payload: task.payload.as_ref().map(Field::to_jsonb),
        scheduled_at: scheduled_at.and_then(time::timestamptz),
        ..Request::default()
    };
    enqueue::write(owner, task_type, &request)
}

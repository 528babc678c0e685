//! The credentials that a stored request is sent with.

use super::batch::Batch;
use crate::provider;
use crate::task_definition::TaskDefinitions;
use pg_errand_calls::credential::Credentials;
use pg_errand_calls::request::Request;
use std::sync::Arc;

/// A request with its credentials.
pub struct Equipped {
    pub request: Arc<Request>,
    pub credentials: Credentials,
}

/// Fetches the provider's current credentials for a stored request.
///
/// # Errors
/// If the provider has changed, a secret is missing, or the provider would not recognize a request that may have been
/// carried out.
pub fn equip(batch: &mut Batch) -> Result<Equipped, String> {
    batch.follow(&TaskDefinitions::known())?;
    batch.check_recognized()?;
    let request = batch.request();
    let credentials = provider::credentials(&batch.provider, &request)?;
    Ok(Equipped { request, credentials })
}

//! The credentials that a stored request is sent with.

use super::batch::Batch;
use crate::call::ClientCert;
use crate::interface::{Credential, Provider, Request};
use crate::secret;
use crate::task_definition::TaskDefinitions;
use std::sync::Arc;

/// A request with its credentials.
pub struct Equipped {
    pub request: Arc<Request>,
    pub credentials: Vec<Credential>,
    pub client_certificate: Option<ClientCert>,
}

/// Adds the current credentials of its provider to a stored request, unless the request was made for another base URL:
/// credentials must not be sent to a former host.
///
/// # Errors
/// What has changed, or which secret is missing; or that a request which may have been carried out would not be
/// recognized.
pub fn equip(batch: &mut Batch) -> Result<Equipped, String> {
    batch.follow(&TaskDefinitions::known())?;
    batch.check_recognized()?;
    let (provider, request) = (&batch.provider, batch.request());
    provider.check_destination(&request)?;
    let credentials = provider.interface.credentials(provider, &request)?;
    let client_certificate = certificate(provider)?;
    Ok(Equipped { request, credentials, client_certificate })
}

/// The certificate that a provider asks for.
fn certificate(provider: &Provider) -> Result<Option<ClientCert>, String> {
    let pem = provider.client_certificate.as_deref().map(secret::find).transpose()?;
    Ok(pem.map(|pem| ClientCert { pem }))
}

//! Provider calls of this worker, from the step that prepares a call to the step that processes its response. No
//! transaction is open during a request.
//!
//! A call passes through the containers of [`Calls`]: unflushed → (queued →) in flight → unstored → answered.

mod admit;
mod answered;
mod batch;
mod cancel;
mod collect;
mod count;
mod credentials;
mod finish;
mod flush;
mod interpret;
mod logged;
mod network;
mod places;
mod queued;
mod result;
pub mod rows;
mod send;
mod starts;
mod state;
mod storable;
mod take_over;
mod types_of_calls;

pub use admit::send_queued;
pub use cancel::cancel_calls;
pub use finish::finish_answered;
pub use flush::flush;
pub use logged::log_start;
pub use state::Calls;
pub use take_over::take_over;

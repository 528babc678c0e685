//! One connection: request after request until either side has had enough.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::Answer;
use crate::perform::perform;
use crate::request::{Origin, Reader, Unread};
use crate::server::Shared;

/// Serves the connection with this number until it ends.
pub(crate) async fn serve(mut stream: TcpStream, connection: usize, shared: Arc<Shared>) {
    let Ok(peer) = stream.peer_addr() else { return };
    let mut reader = Reader::new();
    let mut closing = shared.idle_closed.subscribe();
    for earlier in 0.. {
        // A new connection is not idle: its first request is on the way.
        if earlier > 0 && reader.is_empty() && !something_to_read(&stream, &mut closing).await {
            return;
        }
        let origin = Origin { connection, peer_port: peer.port(), earlier };
        let request = match reader.read(&mut stream, origin).await {
            Ok(request) => Arc::new(request),
            Err(unread) => return complain(&mut stream, &unread).await,
        };
        let index = shared.note(&request);
        let verdict = shared.service.judge(&request);
        if !perform(&mut stream, &request, &verdict, &shared, index).await {
            return;
        }
    }
}

/// Waits for bytes; false if idle connections were closed since this was last asked.
async fn something_to_read(stream: &TcpStream, closing: &mut watch::Receiver<u64>) -> bool {
    tokio::select! {
        biased;
        _ = closing.changed() => false,
        readable = stream.readable() => readable.is_ok(),
    }
}

async fn complain(stream: &mut TcpStream, unread: &Unread) {
    let answer = match unread {
        Unread::Gone => return,
        Unread::Malformed(reason) => {
            Answer::error(400, "validation_error", &format!("Malformed request: {reason}."))
        }
        Unread::TooLarge => Answer::error(413, "validation_error", "The request is too large."),
    };
    // Whether the peer still listens is its own business.
    let _ = stream.write_all(&answer.to_bytes(false)).await;
}

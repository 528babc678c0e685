//! Carries a behaviour out.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::behaviour::{End, Reply};
use crate::server::Shared;
use crate::service::Verdict;
use crate::{Answer, Request};

/// Waits and replies as the verdict says. True if the connection can carry another request.
pub(crate) async fn perform(
    stream: &mut TcpStream,
    request: &Request,
    verdict: &Verdict,
    shared: &Shared,
    index: usize,
) -> bool {
    let behaviour = &verdict.behaviour;
    shared.gate.pass(behaviour.held).await;
    // Even a sleep of nothing takes a millisecond.
    if !behaviour.delay.is_zero() {
        tokio::time::sleep(behaviour.delay).await;
    }
    shared.service.settle(verdict);

    let send = |answer: &Answer| {
        shared.answered(index, request, answer.status);
        answer.to_bytes(request.keep_alive)
    };
    let bytes = match &behaviour.reply {
        Reply::Usual => send(&verdict.usual),
        Reply::Answer(answer) => send(answer),
        Reply::Raw(bytes) => bytes.clone(),
    };
    let sent = write(stream, &bytes, behaviour.pause).await;
    sent.is_ok() && finish(stream, &behaviour.end).await && request.keep_alive
}

async fn write(stream: &mut TcpStream, bytes: &[u8], pause: Option<Duration>) -> io::Result<()> {
    let Some(pause) = pause else {
        return stream.write_all(bytes).await;
    };
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

/// True if the connection stays open for the next request.
async fn finish(stream: &mut TcpStream, end: &End) -> bool {
    match end {
        End::KeepAlive => return true,
        End::Close => {}
        // With no time to linger, closing sends RST.
        End::Reset => drop(stream.set_zero_linger()),
        End::Silence => wait_for_peer_to_leave(stream).await,
        End::Flood(chunk) => while stream.write_all(chunk).await.is_ok() {},
    }
    false
}

async fn wait_for_peer_to_leave(stream: &mut TcpStream) {
    let mut ignored = [0; 4096];
    while matches!(stream.read(&mut ignored).await, Ok(count) if count > 0) {}
}

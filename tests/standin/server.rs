//! The listener, its thread, and what all connections share.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};

use crate::Request;
use crate::connection::serve;
use crate::gate::Gate;
use crate::service::Service;

/// A request and what became of it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What was asked.
    pub request: Arc<Request>,
    /// Status of the answer; nothing while there is none, or if none was ever meant to be sent.
    pub status: Option<u16>,
}

/// What all connections of a server share.
pub(crate) struct Shared {
    pub(crate) service: Arc<dyn Service>,
    pub(crate) gate: Gate,
    /// Changes when connections that wait for a request are to be closed.
    pub(crate) idle_closed: watch::Sender<u64>,
    exchanges: Mutex<Vec<Exchange>>,
    opened: AtomicUsize,
    open: AtomicUsize,
    hang_ups: AtomicUsize,
}

/// A server on a thread of its own; dropping it closes every connection.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Shared {
    fn new(service: Arc<dyn Service>) -> Self {
        Self {
            service,
            gate: Gate::default(),
            idle_closed: watch::Sender::new(0),
            exchanges: Mutex::default(),
            opened: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            hang_ups: AtomicUsize::new(0),
        }
    }

    /// Records a request; returns its index.
    pub(crate) fn note(&self, request: &Arc<Request>) -> usize {
        let mut exchanges = self.exchanges.lock().unwrap();
        exchanges.push(Exchange { request: request.clone(), status: None });
        exchanges.len() - 1
    }

    /// Records the answer to the request at `index`, unless the record was cleared meanwhile.
    pub(crate) fn answered(&self, index: usize, request: &Request, status: u16) {
        let mut exchanges = self.exchanges.lock().unwrap();
        let found = exchanges.get_mut(index).filter(|exchange| std::ptr::eq(&*exchange.request, request));
        if let Some(exchange) = found {
            exchange.status = Some(status);
        }
    }

    /// Whether the connection just opened is to be hung up on.
    fn hangs_up(&self) -> bool {
        self.hang_ups.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

impl Server {
    /// Listens on a loopback address.
    ///
    /// # Errors
    /// If the address is not a loopback address or is in use, or no thread is available.
    pub(crate) fn start(listen: SocketAddr, service: Arc<dyn Service>) -> io::Result<Self> {
        if !listen.ip().is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the stand-in listens on loopback addresses only",
            ));
        }
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(service));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let connections = accept(listener, shared.clone());
        let body = move || {
            runtime.block_on(async {
                tokio::select! {
                    result = connections => result.expect("accepting connections"),
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("standin".to_owned()).spawn(body)?;
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.shared.gate
    }

    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.shared.exchanges.lock().unwrap().clone()
    }

    pub(crate) fn clear(&self) {
        self.shared.exchanges.lock().unwrap().clear();
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.opened.load(SeqCst)
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.shared.open.load(SeqCst)
    }

    pub(crate) fn close_idle(&self) {
        self.shared.idle_closed.send_modify(|times| *times += 1);
    }

    pub(crate) fn hang_up_on(&self, connections: usize) {
        self.shared.hang_ups.store(connections, SeqCst);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A test that fails would wait for ever if what has the thread wait is dropped later.
        if let Some(thread) = self.thread.take().filter(|_| !std::thread::panicking()) {
            // A panic of the thread has been printed; the test that caused it fails by itself.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        // What fails here is one connection (given up again, no descriptor left), not the listener.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        if shared.hangs_up() {
            continue;
        }
        let connection = shared.opened.fetch_add(1, SeqCst) + 1;
        tokio::spawn(counted(stream, connection, shared.clone()));
    }
}

async fn counted(stream: TcpStream, connection: usize, shared: Arc<Shared>) {
    shared.open.fetch_add(1, SeqCst);
    let _ = stream.set_nodelay(true);
    serve(stream, connection, shared.clone()).await;
    shared.open.fetch_sub(1, SeqCst);
}

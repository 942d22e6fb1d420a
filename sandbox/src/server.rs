//! Listening, connections, faults and the record of requests: what issuer and Quay share.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use rustls::{ServerConfig, ServerConnection, Stream};

use crate::fault::{Fault, Recorded, Times};
use crate::http::{self, Reply, Request};

/// What answers requests.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers one request. May take its time with [`Control::sleep`].
    fn answer(&self, request: &Request, control: &Control) -> Answer;
}

/// What becomes of a request.
pub(crate) enum Answer {
    /// A reply.
    Reply(Reply),
    /// The connection is closed without one.
    Close,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

/// Locks, also where a thread panicked with the lock held: the state is a test's own, and the
/// first panic is the one to report.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The faults, the record and the open connections of one service, whatever its ports.
#[derive(Default)]
pub(crate) struct Control {
    planned: Mutex<Vec<Planned>>,
    record: Mutex<Record>,
    connections: Mutex<Connections>,
    stopped: Mutex<bool>,
    stopping: Condvar,
}

struct Planned {
    path: String,
    fault: Fault,
    left: Option<usize>,
}

#[derive(Default)]
struct Record {
    next: u64,
    requests: Vec<(u64, Recorded)>,
}

#[derive(Default)]
struct Connections {
    /// When each was accepted; its number is its place.
    accepted: Vec<SystemTime>,
    open: HashMap<usize, TcpStream>,
}

impl Control {
    /// Plans a fault. Faults of a path are used up in the order planned. `*` is any path.
    pub(crate) fn fault(&self, path: &str, fault: Fault, times: Times) {
        let left = match times {
            Times::Once => Some(1),
            Times::N(count) => Some(count),
            Times::Always => None,
        };
        lock(&self.planned).push(Planned { path: path.to_owned(), fault, left });
    }

    pub(crate) fn clear_faults(&self) {
        lock(&self.planned).clear();
    }

    fn take_fault(&self, path: &str) -> Option<Fault> {
        let mut planned = lock(&self.planned);
        let index = planned.iter().position(|planned| {
            planned.left != Some(0) && (planned.path == "*" || planned.path == path)
        })?;
        let entry = &mut planned[index];
        let fault = entry.fault.clone();
        if let Some(left) = &mut entry.left {
            *left -= 1;
            if *left == 0 {
                planned.remove(index);
            }
        }
        Some(fault)
    }

    pub(crate) fn requests(&self) -> Vec<Recorded> {
        lock(&self.record).requests.iter().map(|(_, recorded)| recorded.clone()).collect()
    }

    pub(crate) fn count(&self, path: &str) -> usize {
        lock(&self.record).requests.iter().filter(|(_, recorded)| recorded.path == path).count()
    }

    pub(crate) fn forget_requests(&self) {
        lock(&self.record).requests.clear();
    }

    fn record(&self, request: &Request, connection: usize) -> u64 {
        let mut record = lock(&self.record);
        let id = record.next;
        record.next += 1;
        let recorded = Recorded {
            at: SystemTime::now(),
            connection,
            method: request.method.clone(),
            path: request.path().to_owned(),
            target: request.target.clone(),
            headers: request.headers.clone(),
            body: request.body.clone(),
            status: None,
        };
        record.requests.push((id, recorded));
        id
    }

    /// Before the first byte goes out: whoever has seen a reply finds its status recorded.
    fn record_status(&self, id: u64, status: u16) {
        let mut record = lock(&self.record);
        if let Some((_, recorded)) = record.requests.iter_mut().find(|(known, _)| *known == id) {
            recorded.status = Some(status);
        }
    }

    /// Waits. `false` where the sandbox stopped meanwhile.
    pub(crate) fn sleep(&self, duration: Duration) -> bool {
        let end = Instant::now() + duration;
        let mut stopped = lock(&self.stopped);
        while !*stopped {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            (stopped, _) =
                self.stopping.wait_timeout(stopped, left).unwrap_or_else(PoisonError::into_inner);
        }
        false
    }

    fn hang(&self) {
        let mut stopped = lock(&self.stopped);
        while !*stopped {
            stopped = self.stopping.wait(stopped).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn stop(&self) {
        *lock(&self.stopped) = true;
        self.stopping.notify_all();
        self.close_connections();
    }

    pub(crate) fn close_connections(&self) {
        for (_, connection) in lock(&self.connections).open.drain() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// When each connection was accepted since the start.
    pub(crate) fn connections(&self) -> Vec<SystemTime> {
        lock(&self.connections).accepted.clone()
    }

    fn opened(&self, connection: &TcpStream) -> io::Result<usize> {
        let clone = connection.try_clone()?;
        let mut connections = lock(&self.connections);
        let id = connections.accepted.len();
        connections.accepted.push(SystemTime::now());
        connections.open.insert(id, clone);
        Ok(id)
    }

    fn closed(&self, id: usize) {
        lock(&self.connections).open.remove(&id);
    }
}

/// One port of a service. It keeps its number while it does not listen.
pub(crate) struct Listener {
    port: u16,
    shared: Arc<Shared>,
    accepting: Mutex<Option<Accepting>>,
}

struct Shared {
    service: Arc<dyn Service>,
    control: Arc<Control>,
    tls: Option<Arc<ServerConfig>>,
}

struct Accepting {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Listener {
    /// Binds a free port of 127.0.0.1 and begins to accept. Without `tls` it speaks plain HTTP.
    pub(crate) fn start(
        service: Arc<dyn Service>,
        control: Arc<Control>,
        tls: Option<Arc<ServerConfig>>,
    ) -> io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = socket.local_addr()?.port();
        let shared = Arc::new(Shared { service, control, tls });
        let accepting = accept(socket, &shared)?;
        Ok(Self { port, shared, accepting: Mutex::new(Some(accepting)) })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Connections are refused from now on, and those that are open are closed.
    pub(crate) fn stop_listening(&self) {
        let Some(accepting) = lock(&self.accepting).take() else {
            return;
        };
        accepting.ended.store(true, Ordering::SeqCst);
        // Wakes the thread out of `accept`; it drops its socket as it ends.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        let _ = accepting.thread.join();
        self.shared.control.close_connections();
    }

    /// Listens at the same port again.
    pub(crate) fn resume_listening(&self) -> io::Result<()> {
        let mut accepting = lock(&self.accepting);
        if accepting.is_none() {
            let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))?;
            *accepting = Some(accept(socket, &self.shared)?);
        }
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop_listening();
    }
}

fn accept(socket: TcpListener, shared: &Arc<Shared>) -> io::Result<Accepting> {
    // The standard library asks for 128: a herd of clients then waits a second for its SYN.
    rustix::net::listen(&socket, 1024)?;
    let ended = Arc::new(AtomicBool::new(false));
    let (told, shared) = (Arc::clone(&ended), Arc::clone(shared));
    let accept_all = move || {
        loop {
            let accepted = socket.accept();
            if told.load(Ordering::SeqCst) {
                return;
            }
            if let Ok((connection, _)) = accepted {
                serve_in_thread(connection, &shared);
            }
        }
    };
    let thread = thread::Builder::new().name("sandbox accept".to_owned()).spawn(accept_all)?;
    Ok(Accepting { ended, thread })
}

/// A client sees a failure to start the thread as a closed connection.
fn serve_in_thread(connection: TcpStream, shared: &Arc<Shared>) {
    // Known before the thread runs: whoever stops listening closes this connection too.
    let Ok(id) = shared.control.opened(&connection) else {
        return;
    };
    let ours = Arc::clone(shared);
    let thread = thread::Builder::new().name("sandbox connection".to_owned());
    if thread.spawn(move || serve(connection, id, &ours)).is_err() {
        shared.control.closed(id);
    }
}

/// How a connection ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Orderly,
    Abrupt,
    Reset,
}

fn serve(mut connection: TcpStream, id: usize, shared: &Shared) {
    let _ = connection.set_nodelay(true);
    let end = match &shared.tls {
        None => serve_requests(&mut connection, id, shared),
        Some(config) => serve_over_tls(&mut connection, id, config, shared),
    };
    // The last handle to the socket must be the one here, or it would stay open.
    shared.control.closed(id);
    if matches!(end, Ok(End::Reset)) {
        let _ = rustix::net::sockopt::set_socket_linger(&connection, Some(Duration::ZERO));
    }
}

fn serve_over_tls(
    connection: &mut TcpStream,
    id: usize,
    config: &Arc<ServerConfig>,
    shared: &Shared,
) -> io::Result<End> {
    let mut session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    let mut stream = Stream::new(&mut session, connection);
    let end = serve_requests(&mut stream, id, shared)?;
    if end == End::Orderly {
        stream.conn.send_close_notify();
        stream.flush()?;
    }
    Ok(end)
}

fn serve_requests<S: Read + Write>(
    stream: &mut S,
    connection: usize,
    shared: &Shared,
) -> io::Result<End> {
    let mut rest = Vec::new();
    loop {
        let request = match http::read_request(stream, &mut rest) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(End::Orderly),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let reply = Reply::new(400, "text/plain", error.to_string());
                send(stream, &reply, "GET", false)?;
                return Ok(End::Orderly);
            }
            Err(error) => return Err(error),
        };
        let id = shared.control.record(&request, connection);
        let fault = shared.control.take_fault(request.path());
        if let Some(end) = serve_one(stream, shared, &request, id, fault)? {
            return Ok(end);
        }
    }
}

/// `None` where the connection goes on.
fn serve_one<S: Read + Write>(
    stream: &mut S,
    shared: &Shared,
    request: &Request,
    id: u64,
    fault: Option<Fault>,
) -> io::Result<Option<End>> {
    let control = &shared.control;
    let begin = |status: u16| control.record_status(id, status);
    let reply = match fault {
        Some(Fault::Reset) => return Ok(Some(End::Reset)),
        Some(Fault::Close) => return Ok(Some(End::Abrupt)),
        Some(Fault::Hang) => {
            control.hang();
            return Ok(Some(End::Abrupt));
        }
        Some(Fault::Raw(bytes)) => {
            stream.write_all(&bytes)?;
            stream.flush()?;
            return Ok(Some(End::Orderly));
        }
        Some(Fault::Truncate { status, headers, body, missing }) => {
            begin(status);
            let reply = Reply { status, headers, body };
            stream.write_all(&reply.head(Some((reply.body.len() + missing) as u64), false))?;
            stream.write_all(&reply.body)?;
            stream.flush()?;
            return Ok(Some(End::Abrupt));
        }
        Some(Fault::Huge { bytes, announced }) => {
            begin(200);
            send_huge(stream, bytes, announced)?;
            return Ok(Some(End::Orderly));
        }
        Some(Fault::Respond { status, headers, body }) => Reply { status, headers, body },
        Some(Fault::Redirect(url)) => {
            Reply::new(302, "text/html", Vec::new()).with("Location", url)
        }
        other => {
            if let Some(Fault::Delay(duration)) = other
                && !control.sleep(duration)
            {
                return Ok(Some(End::Abrupt));
            }
            match (shared.service.answer(request, control), other) {
                (Answer::Close, _) => return Ok(Some(End::Abrupt)),
                (Answer::Reply(reply), Some(Fault::TruncateReply { keep })) => {
                    begin(reply.status);
                    stream.write_all(&reply.head(Some(reply.body.len() as u64), false))?;
                    stream.write_all(&reply.body[..keep.min(reply.body.len())])?;
                    stream.flush()?;
                    return Ok(Some(End::Abrupt));
                }
                (Answer::Reply(reply), Some(Fault::Trickle { every })) => {
                    begin(reply.status);
                    let mut bytes = reply.head(Some(reply.body.len() as u64), false);
                    bytes.extend_from_slice(&reply.body);
                    for byte in bytes {
                        if !control.sleep(every) {
                            return Ok(Some(End::Abrupt));
                        }
                        stream.write_all(&[byte])?;
                        stream.flush()?;
                    }
                    return Ok(Some(End::Orderly));
                }
                (Answer::Reply(reply), _) => reply,
            }
        }
    };
    begin(reply.status);
    send(stream, &reply, &request.method, request.keep_alive)?;
    Ok((!request.keep_alive).then_some(End::Orderly))
}

fn send<S: Write>(stream: &mut S, reply: &Reply, method: &str, keep_alive: bool) -> io::Result<()> {
    let mut bytes = reply.head(Some(reply.body.len() as u64), keep_alive);
    if method != "HEAD" {
        bytes.extend_from_slice(&reply.body);
    }
    stream.write_all(&bytes)?;
    stream.flush()
}

fn send_huge<S: Write>(stream: &mut S, bytes: u64, announced: bool) -> io::Result<()> {
    const PART: usize = 64 * 1024;
    let reply = Reply::json(200, Vec::new());
    stream.write_all(&reply.head(announced.then_some(bytes), false))?;
    let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut part = vec![b'a'; PART];
    let opening = br#"{"token":""#;
    part[..opening.len()].copy_from_slice(opening);
    while left > 0 {
        let length = left.min(PART);
        if announced {
            stream.write_all(&part[..length])?;
        } else {
            stream.write_all(format!("{length:x}\r\n").as_bytes())?;
            stream.write_all(&part[..length])?;
            stream.write_all(b"\r\n")?;
        }
        part.fill(b'a');
        left -= length;
    }
    if !announced {
        stream.write_all(b"0\r\n\r\n")?;
    }
    stream.flush()
}

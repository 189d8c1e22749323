//! Asks Docker's API, which Podman speaks as well, for all containers. Who is at the other end may be
//! anyone: an answer has a time and a length.

use std::{
    io,
    path::Path,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bollard::{
    API_DEFAULT_VERSION, BollardRequest, ClientVersion, Docker, errors::Error,
    models::ContainerSummary, query_parameters::ListContainersOptionsBuilder,
};
use hyper::{Response, body::Incoming, header};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};

use super::{
    Runtime,
    cgroup::is_id,
    told::{self, MOST_TOLD, Told},
};

/// How long a runtime may take to answer, from the first byte to the last.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// Longest answer. Docker takes about 1.5 kB for a container, and much more with many labels.
const MOST_ANSWER: usize = 64 << 20;
/// What all Podman since 3.0 speak. To ask for its version costs a quarter of a second, in which it starts
/// other programs.
const PODMAN_VERSION: &ClientVersion = &ClientVersion {
    major_version: 1,
    minor_version: 40,
};

/// Why a socket tells nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// There is none: the runtime is not installed, or never ran.
    Absent,
    /// What is to be said of it, after the runtime's name.
    Because(String),
}

/// All containers that the runtime at `socket` has.
pub(super) fn list(runtime: Runtime, socket: &Path) -> Result<Vec<Told>, Silence> {
    let at = |why: &str| Silence::Because(format!("{why} {socket:?}"));
    let asking = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Silence::Because(format!("cannot ask {socket:?}: {error}")))?;
    let answer = asking.block_on(async {
        tokio::time::timeout(PATIENCE, ask(runtime, socket))
            .await
            .unwrap_or(Err(Error::RequestTimeoutError))
    });
    let list = answer.map_err(|error| match io_cause(&error) {
        Some(io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Silence::Absent,
        Some(io::ErrorKind::ConnectionRefused) => at("nobody listens on"),
        Some(io::ErrorKind::PermissionDenied) => at("no permission to ask"),
        // Its queue is full: nobody takes who waits there.
        Some(io::ErrorKind::WouldBlock) => at("no answer from"),
        _ if matches!(error, Error::RequestTimeoutError) => {
            Silence::Because(format!("no answer from {socket:?} within 1 s"))
        }
        _ => Silence::Because(format!(
            "{socket:?} does not answer as a runtime does: {}",
            short(&root_cause(&error))
        )),
    })?;
    let told = list.into_iter().take(MOST_TOLD);
    Ok(told.filter_map(|one| container(runtime, one)).collect())
}

async fn ask(runtime: Runtime, socket: &Path) -> Result<Vec<ContainerSummary>, Error> {
    // Before all else: bollard wraps what goes wrong here too deep to be told apart.
    drop(UnixStream::connect(socket).await?);
    let path = socket.to_owned();
    let transport = move |request| {
        let path = path.clone();
        async move { send(&path, request).await }
    };
    let is_podman = runtime == Runtime::Podman;
    let mut engine = Docker::connect_with_custom_transport(
        transport,
        Some("http://localhost"),
        PATIENCE.as_secs(),
        if is_podman {
            PODMAN_VERSION
        } else {
            API_DEFAULT_VERSION
        },
    )?;
    if !is_podman {
        engine = engine.negotiate_version().await?;
    }
    let all = ListContainersOptionsBuilder::new().all(true).build();
    engine.list_containers(Some(all)).await
}

/// Sends one request over a connection of its own.
async fn send(path: &Path, mut request: BollardRequest) -> Result<Response<Incoming>, Error> {
    let stream = Limited {
        stream: UnixStream::connect(path).await?,
        left: MOST_ANSWER,
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the runtime that it runs on, at the latest.
    drop(tokio::spawn(connection));
    // To a server, one asks for a path alone.
    if let Some(path) = request.uri().path_and_query() {
        *request.uri_mut() = path.clone().into();
    }
    let host = header::HeaderValue::from_static("localhost");
    request.headers_mut().insert(header::HOST, host);
    Ok(sender.send_request(request).await?)
}

fn container(runtime: Runtime, one: ContainerSummary) -> Option<Told> {
    let mut told = Told::new(runtime, one.id.filter(|id| is_id(id))?);
    // Docker's old links give further names, with a slash inside.
    told.name = one
        .names
        .unwrap_or_default()
        .iter()
        .filter_map(|name| told::name(name))
        .find(|name| !name.contains('/'));
    let mode = one.host_config.and_then(|config| config.network_mode);
    told.network = told::network(&mode.unwrap_or_default());
    Some(told)
}

/// The cause that the operating system gave.
fn io_cause(error: &Error) -> Option<io::ErrorKind> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        if let Some(Error::IOError { err }) = error.downcast_ref::<Error>() {
            return Some(err.kind());
        }
        cause = error.source();
    }
    None
}

/// What went wrong in the end: what is around it says less.
fn root_cause(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// What a stranger may have written, fit for one line.
fn short(text: &str) -> String {
    let mut short: String = text.chars().take(120).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short.escape_debug().to_string()
}

/// A stream that breaks after so many bytes have come.
struct Limited {
    stream: UnixStream,
    left: usize,
}

impl AsyncRead for Limited {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        match self.left.checked_sub(read) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Err(io::Error::other("its answer has no end"))),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Limited {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;

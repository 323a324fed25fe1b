//! Bounds what strangers can hold open: connections are counted before the handshake, slow headers end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Request;
use axum_server::accept::Accept;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service;

/// A client that has not sent its request's head by then is not waited for.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests at the same time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 32;
/// Bytes of a request's headers: a cookie and a long filter fit easily.
const HEADER_BYTES_MAX: u32 = 16 << 10;

/// Sets the limits of HTTP/1 and HTTP/2.
pub(super) fn limit(builder: &mut Builder<TokioExecutor>) {
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
}

/// Lets a bounded number of connections in and closes the rest.
#[derive(Clone)]
pub(super) struct Doorkeeper<A> {
    inner: A,
    places: Arc<Semaphore>,
}

impl<A> Doorkeeper<A> {
    pub(super) fn new(inner: A, connections_max: usize) -> Self {
        Self { inner, places: Arc::new(Semaphore::new(connections_max)) }
    }
}

impl<A, I, S> Accept<I, S> for Doorkeeper<A>
where
    A: Accept<I, S>,
    A::Future: Send + 'static,
{
    type Stream = A::Stream;
    type Service = Seated<A::Service>;
    type Future = Pin<Box<dyn Future<Output = io::Result<(A::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Box::pin(async { Err(io::Error::from(io::ErrorKind::ConnectionRefused)) });
        };
        let accepted = self.inner.accept(stream, service);
        Box::pin(async move {
            let (stream, inner) = accepted.await?;
            Ok((stream, Seated { inner, _place: Arc::new(place) }))
        })
    }
}

/// A connection's service with the place that it takes up; the place is free when the connection ended.
#[derive(Clone)]
pub(super) struct Seated<S> {
    inner: S,
    _place: Arc<OwnedSemaphorePermit>,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Seated<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        self.inner.call(request)
    }
}

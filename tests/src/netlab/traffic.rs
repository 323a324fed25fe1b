//! Real conversations between hosts of the lab: questions and answers over UDP, TLS with rustls, HTTP over TCP.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::{PrivateKeyDer, ServerName};

use super::namespace::Namespace;

/// Nothing in the lab takes longer than this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves on one host while another one asks.
///
/// # Errors
/// When one of them fails, or the server does not come up.
pub fn converse(
    (server, serve): (&Namespace, impl FnOnce(&Sender<()>) -> anyhow::Result<()> + Send + 'static),
    (client, ask): (&Namespace, impl FnOnce() -> anyhow::Result<()> + Send + 'static),
) -> anyhow::Result<()> {
    std::thread::scope(|scope| {
        let (ready, is_ready) = channel();
        let serving = scope.spawn(move || server.inside(move || serve(&ready)));
        is_ready.recv_timeout(PATIENCE).context("the server did not come up")?;
        client.inside(ask)?;
        serving.join().map_err(|_| anyhow::anyhow!("the server panicked"))?
    })
}

/// A DNS question for the A record of a name (RFC 1035 §4).
pub fn question(name: &str) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).unwrap_or(63));
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    packet
}

/// Answers one question with "no such name".
///
/// # Errors
/// When the socket cannot be opened or nobody asks.
pub fn answer_one_question(listen: SocketAddr, ready: &Sender<()>) -> anyhow::Result<()> {
    let socket = UdpSocket::bind(listen)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    ready.send(())?;
    let mut packet = [0; 512];
    let (bytes, client) = socket.recv_from(&mut packet).context("nobody asked")?;
    let answer = packet.get_mut(..bytes).context("longer than its buffer")?;
    if let Some(flags) = answer.get_mut(2..4) {
        flags.copy_from_slice(&[0x81, 0x83]); // response, recursion available, NXDOMAIN
    }
    socket.send_to(answer, client)?;
    Ok(())
}

/// Asks one question and waits for its answer.
///
/// # Errors
/// When no answer comes.
pub fn ask(server: SocketAddr, name: &str) -> anyhow::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(&question(name), server)?;
    let mut packet = [0; 512];
    socket.recv(&mut packet).context("no answer")?;
    Ok(())
}

/// Serves one TLS connection with a certificate of its own for `name`, and sends a greeting.
///
/// # Errors
/// When nobody connects or the handshake fails.
pub fn serve_one_tls(listen: SocketAddr, name: &str, ready: &Sender<()>) -> anyhow::Result<()> {
    let certified = rcgen::generate_simple_self_signed([name.to_owned()])?;
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)?;
    let listener = TcpListener::bind(listen)?;
    ready.send(())?;
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut tls = rustls::ServerConnection::new(Arc::new(config))?;
    let _ = tls.complete_io(&mut stream); // the client refuses the certificate: its name was said before
    Ok(())
}

/// Begins a TLS connection as a browser does. The certificate is nobody's: the handshake ends after the
/// name was sent, which is all that a sensor can see of it.
///
/// # Errors
/// When there is no connection, or when the handshake surprisingly succeeds.
pub fn begin_tls(server: SocketAddr, name: &str) -> anyhow::Result<()> {
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut tls = rustls::ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned())?)?;
    let refused = tls.complete_io(&mut stream);
    anyhow::ensure!(refused.is_err(), "a certificate of nobody was accepted");
    Ok(())
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Serves one HTTP request with a short page.
///
/// # Errors
/// When nobody connects.
pub fn serve_one_http(listen: SocketAddr, ready: &Sender<()>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen)?;
    ready.send(())?;
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = [0; 2048];
    let _ = stream.read(&mut request)?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")?;
    Ok(())
}

/// Asks for one page, from an address of this host.
///
/// # Errors
/// When no answer comes.
pub fn get(server: SocketAddr, host: &str, path: &str) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // In one write: the server answers to the first bytes that it reads, and closes.
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: prova/1.0\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    anyhow::ensure!(answer.starts_with("HTTP/1.1 200"), "answered: {answer:?}");
    Ok(())
}

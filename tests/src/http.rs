//! The least HTTP client that asks our own children how they are: one request, one answer, no TLS.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Status code and body of an answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// For instance 200.
    pub status: u16,
    /// As it came.
    pub body: String,
}

/// Sends `GET path`.
pub async fn get(server: SocketAddr, path: &str) -> Result<Answer> {
    exchange(server, &format!("GET {path} HTTP/1.0\r\nHost: {server}\r\n\r\n")).await
}

/// Sends `POST path` with a JSON body.
pub async fn post(server: SocketAddr, path: &str, json: &str) -> Result<Answer> {
    let length = json.len();
    let request = format!(
        "POST {path} HTTP/1.0\r\nHost: {server}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{json}"
    );
    exchange(server, &request).await
}

/// HTTP/1.0: the answer ends with the connection.
async fn exchange(server: SocketAddr, request: &str) -> Result<Answer> {
    let mut stream =
        TcpStream::connect(server).await.with_context(|| format!("connect to {server}"))?;
    stream.write_all(request.as_bytes()).await.context("send the request")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.context("read the answer")?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("an answer that is not HTTP")?;
    let status = head.split(' ').nth(1).context("an answer without status")?;
    let status = status.parse().with_context(|| format!("status {status}"))?;
    Ok(Answer { status, body: body.to_owned() })
}

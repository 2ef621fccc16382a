//! A client that sends given bytes and keeps the bytes that come back.
//!
//! For comparing what a client sees with and without Segue. Knows just enough of the protocol to
//! cut frames, to log in and to wait for `ReadyForQuery`; does not decode replies.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::database::Database;

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// Protocol version 3.0.
const VERSION: i32 = 196_608;
/// The request code of `SSLRequest`.
const SSL_REQUEST: i32 = 80_877_103;
/// The request code of `CancelRequest`.
const CANCEL_REQUEST: i32 = 80_877_102;

/// A frame as it came: tag, then the body without its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The message's letter.
    pub tag: u8,
    /// What follows the length.
    pub body: Vec<u8>,
}

/// A connection on which the login is over.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The startup's frames, the last being `ReadyForQuery`.
    pub startup: Vec<Frame>,
}

impl RawClient {
    /// Connects without a password.
    pub async fn connect(database: &Database) -> Result<Self> {
        Self::connect_with(database, &[]).await
    }

    /// Connects with further startup parameters.
    pub async fn connect_with(database: &Database, parameters: &[(&str, &str)]) -> Result<Self> {
        Self::connect_as(database, VERSION, parameters).await
    }

    /// Connects with a version of the protocol, written as the startup packet writes it.
    pub async fn connect_as(
        database: &Database,
        version: i32,
        parameters: &[(&str, &str)],
    ) -> Result<Self> {
        let mut client = Self::greeting(database, version, parameters).await?;
        client.startup = client.until_ready(1).await?;
        Ok(client)
    }

    /// Sends the startup packet and leaves the answer unread.
    pub async fn greeting(
        database: &Database,
        version: i32,
        parameters: &[(&str, &str)],
    ) -> Result<Self> {
        let mut client = Self::silent(database.port).await?;
        let mut body = version.to_be_bytes().to_vec();
        let always = [
            ("user", database.user.as_str()),
            ("database", database.name.as_str()),
        ];
        for (name, value) in always.iter().chain(parameters) {
            body.extend([name.as_bytes(), &[0], value.as_bytes(), &[0]].concat());
        }
        body.push(0);
        client.send(&[length(&body), body].concat()).await?;
        Ok(client)
    }

    /// A connection on which nothing has been said.
    pub async fn silent(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
            startup: Vec::new(),
        })
    }

    /// All that still comes until the other side closes the connection.
    pub async fn to_end(&mut self) -> Result<Vec<Frame>> {
        let mut frames = Vec::new();
        loop {
            while let Some(frame) = self.cut() {
                frames.push(frame);
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
            match read.context("the connection stays open")? {
                Ok(0) => break,
                Ok(_) => (),
                // What was not read when the other side closed.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
                Err(error) => return Err(error.into()),
            }
        }
        ensure!(self.buffer.is_empty(), "the connection ends within a frame");
        Ok(frames)
    }

    /// Reads the next `count` bytes as they come and throws them away.
    pub async fn skip(&mut self, count: usize) -> Result<()> {
        let mut left = count;
        loop {
            let now = left.min(self.buffer.len());
            self.buffer.drain(..now);
            left -= now;
            if left == 0 {
                return Ok(());
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
            ensure!(
                read.context("no bytes come")?? > 0,
                "the connection is closed"
            );
        }
    }

    /// Says that nothing more will be sent.
    pub async fn shut(&mut self) -> Result<()> {
        Ok(self.stream.shutdown().await?)
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await.context("could not send")
    }

    /// Reads up to and including the `count`th `ReadyForQuery`.
    pub async fn until_ready(&mut self, count: usize) -> Result<Vec<Frame>> {
        self.until_tag(b'Z', count).await
    }

    /// Reads up to and including the `count`th frame of a tag.
    pub async fn until_tag(&mut self, tag: u8, count: usize) -> Result<Vec<Frame>> {
        let mut frames = Vec::new();
        let mut seen = 0;
        while seen < count {
            let frame = self.frame().await?;
            if frame.tag == b'E' && frame.body.starts_with(b"SFATAL") {
                bail!(
                    "the server gave up: {}",
                    String::from_utf8_lossy(&frame.body)
                );
            }
            seen += usize::from(frame.tag == tag);
            frames.push(frame);
        }
        Ok(frames)
    }

    /// The next frame.
    pub async fn frame(&mut self) -> Result<Frame> {
        loop {
            if let Some(frame) = self.cut() {
                return Ok(frame);
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
            let read = read.context("no reply came in time")??;
            ensure!(read > 0, "the server closed the connection");
        }
    }

    fn cut(&mut self) -> Option<Frame> {
        let (&tag, rest) = self.buffer.split_first()?;
        let (length, _) = rest.split_first_chunk::<4>()?;
        let end = usize::try_from(i32::from_be_bytes(*length)).ok()? + 1;
        let frame = self.buffer.get(..end)?;
        let frame = Frame {
            tag,
            body: frame.get(5..)?.to_vec(),
        };
        self.buffer.drain(..end);
        Some(frame)
    }

    /// Process id and secret for a cancel request, from the startup.
    pub fn cancel_key(&self) -> Option<&[u8]> {
        let frame = self.startup.iter().find(|frame| frame.tag == b'K')?;
        Some(&frame.body)
    }
}

/// What the server answers to an `SSLRequest`.
pub async fn ssl_answer(port: u16) -> Result<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream
        .write_all(&[8_i32.to_be_bytes(), SSL_REQUEST.to_be_bytes()].concat())
        .await?;
    let mut answer = [0];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await??;
    Ok(answer[0])
}

/// Sends a cancel request for the connection with this key.
pub async fn cancel(port: u16, key: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let body = [&CANCEL_REQUEST.to_be_bytes(), key].concat();
    stream.write_all(&[length(&body), body].concat()).await?;
    // The server closes the connection when it has passed the request on.
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await??;
    Ok(())
}

fn length(body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len() + 4).unwrap_or(i32::MAX);
    length.to_be_bytes().to_vec()
}

/// The messages a client sends, one function each.
pub mod message {
    use super::length;

    /// Any message: its tag and its body.
    pub fn framed(tag: u8, body: &[u8]) -> Vec<u8> {
        [&[tag], length(body).as_slice(), body].concat()
    }

    fn text(text: &str) -> Vec<u8> {
        [text.as_bytes(), &[0]].concat()
    }

    fn count(count: usize) -> [u8; 2] {
        u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes()
    }

    /// A simple query.
    pub fn query(sql: &str) -> Vec<u8> {
        framed(b'Q', &text(sql))
    }

    /// Parse, with the parameters' types left to the server.
    pub fn parse(statement: &str, sql: &str) -> Vec<u8> {
        framed(b'P', &[text(statement), text(sql), vec![0, 0]].concat())
    }

    /// Bind with text parameters and one result format code per entry of `formats`.
    pub fn bind(portal: &str, statement: &str, values: &[&str], formats: &[u8]) -> Vec<u8> {
        let mut body = [text(portal), text(statement), vec![0, 0]].concat();
        body.extend(count(values.len()));
        for value in values {
            body.extend(i32::try_from(value.len()).unwrap_or(i32::MAX).to_be_bytes());
            body.extend(value.as_bytes());
        }
        body.extend(count(formats.len()));
        for &format in formats {
            body.extend([0, format]);
        }
        framed(b'B', &body)
    }

    /// Describe a statement.
    pub fn describe_statement(name: &str) -> Vec<u8> {
        framed(b'D', &[vec![b'S'], text(name)].concat())
    }

    /// Describe a portal.
    pub fn describe_portal(name: &str) -> Vec<u8> {
        framed(b'D', &[vec![b'P'], text(name)].concat())
    }

    /// Execute a portal for at most so many rows; 0 for all.
    pub fn execute(portal: &str, rows_max: i32) -> Vec<u8> {
        framed(
            b'E',
            &[text(portal), rows_max.to_be_bytes().to_vec()].concat(),
        )
    }

    /// Close a statement.
    pub fn close_statement(name: &str) -> Vec<u8> {
        framed(b'C', &[vec![b'S'], text(name)].concat())
    }

    /// Close a portal.
    pub fn close_portal(name: &str) -> Vec<u8> {
        framed(b'C', &[vec![b'P'], text(name)].concat())
    }

    /// Sync.
    pub fn sync() -> Vec<u8> {
        framed(b'S', &[])
    }

    /// Flush.
    pub fn flush() -> Vec<u8> {
        framed(b'H', &[])
    }

    /// COPY data.
    pub fn copy_data(bytes: &[u8]) -> Vec<u8> {
        framed(b'd', bytes)
    }

    /// COPY is over.
    pub fn copy_done() -> Vec<u8> {
        framed(b'c', &[])
    }

    /// COPY is given up.
    pub fn copy_fail(why: &str) -> Vec<u8> {
        framed(b'f', &text(why))
    }
}

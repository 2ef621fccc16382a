//! A relay before a server whose bytes can be kept back, either way: what was sent and never
//! arrived, and what was done and never answered.
//!
//! Does not look into what it passes on. A dropped valve closes its connections.

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// The relay.
#[derive(Debug)]
pub struct Valve {
    port: u16,
    requests_held: watch::Sender<bool>,
    answers_held: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Valve {
    /// Before the server at a port of this machine.
    pub async fn before(server: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (requests_held, requests) = watch::channel(false);
        let (answers_held, answers) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let held = (requests.clone(), answers.clone());
                connections.spawn(relay(near, server, held));
            }
        });
        Ok(Self {
            port,
            requests_held,
            answers_held,
            task,
        })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on nothing reaches the server.
    pub fn hold_requests(&self) {
        self.requests_held.send_replace(true);
    }

    /// From now on nothing comes from the server.
    pub fn hold_answers(&self) {
        self.answers_held.send_replace(true);
    }
}

impl Drop for Valve {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(
    near: TcpStream,
    server: u16,
    (requests, answers): (watch::Receiver<bool>, watch::Receiver<bool>),
) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", server)).await else {
        return;
    };
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    tokio::join!(
        pass(from_near, to_far, requests),
        pass(from_far, to_near, answers)
    );
}

/// Passes bytes on until one side ends; what it has read when it is held is held too.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut held: watch::Receiver<bool>) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(count) = from.read(&mut bytes).await {
        if held.wait_for(|held| !held).await.is_err() {
            return;
        }
        let passed = match bytes.get(..count) {
            Some(read) if count > 0 => to.write_all(read).await,
            _ => break,
        };
        if passed.is_err() {
            break;
        }
    }
}

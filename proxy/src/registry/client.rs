//! One client in its worker's registry.
//!
//! Does not own the connection: the session does, and publishes here what others may see.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Waker;
use std::time::SystemTime;

use super::{Phase, Registry};

/// Whether a client's writes are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Captured {
    /// They are.
    Yes,
    /// The proxy captures nothing.
    Off,
    /// It is in another database than the one that is mirrored.
    OtherDatabase,
    /// It is a replication connection.
    Replication,
    /// It speaks a version of the protocol that is not known.
    Version,
    /// It is at the admin console.
    Console,
}

impl Captured {
    /// The word for it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Off => "no: mirror is off",
            Self::OtherDatabase => "no: other database",
            Self::Replication => "no: replication",
            Self::Version => "no: protocol version",
            Self::Console => "no: admin console",
        }
    }
}

/// Who a client is, from its first bytes.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) application_name: String,
    /// Nothing for a Unix-domain socket.
    pub(crate) peer: Option<SocketAddr>,
    /// The version of TLS, if the connection is encrypted.
    pub(crate) tls: Option<&'static str>,
    pub(crate) connected: SystemTime,
    pub(crate) captured: Captured,
}

#[cfg(test)]
impl Identity {
    /// Of nobody in particular.
    pub(crate) const fn unknown() -> Self {
        Self {
            user: String::new(),
            database: String::new(),
            application_name: String::new(),
            peer: None,
            tls: None,
            connected: SystemTime::UNIX_EPOCH,
            captured: Captured::Off,
        }
    }
}

/// What a client is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum State {
    /// It has not been let in yet.
    #[default]
    Login,
    /// The source works for it.
    Active,
    Idle,
    InTransaction,
    /// In a transaction that has failed.
    InFailedTransaction,
    /// It may not begin anything until the pause is over.
    Paused,
}

impl State {
    /// The word for it in a metric's label.
    pub(crate) const fn metric(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Active => "active",
            Self::Idle => "idle",
            Self::InTransaction => "idle_in_transaction",
            Self::InFailedTransaction => "idle_in_failed_transaction",
            Self::Paused => "paused",
        }
    }

    /// The word for it; PostgreSQL's own where it has one.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Active => "active",
            Self::Idle => "idle",
            Self::InTransaction => "idle in transaction",
            Self::InFailedTransaction => "idle in transaction (aborted)",
            Self::Paused => "paused",
        }
    }
}

/// What a session has moved since it began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    pub(crate) transactions: u64,
    pub(crate) queries: u64,
    pub(crate) from_client: u64,
    pub(crate) to_client: u64,
    pub(crate) from_source: u64,
    pub(crate) to_source: u64,
}

/// How a session stands to a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It has not been let in, or is none that a pause waits for.
    Exempt,
    /// It has not come to rest.
    Moving,
    /// It takes no request.
    Resting,
}

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    number: u64,
    identity: Identity,
    /// As it was named last.
    application_name: RefCell<Option<String>>,
    /// Of the session's task, which keeps its waker.
    waker: RefCell<Option<Waker>>,
    is_to_end: Cell<bool>,
    rest: Cell<Rest>,
    server_pid: Cell<u32>,
    progress: Cell<Progress>,
    state: Cell<State>,
}

impl Client {
    pub(super) const fn new(number: u64, identity: Identity) -> Self {
        Self {
            number,
            identity,
            application_name: RefCell::new(None),
            waker: RefCell::new(None),
            is_to_end: Cell::new(false),
            rest: Cell::new(Rest::Exempt),
            server_pid: Cell::new(0),
            progress: Cell::new(Progress {
                transactions: 0,
                queries: 0,
                from_client: 0,
                to_client: 0,
                from_source: 0,
                to_source: 0,
            }),
            state: Cell::new(State::Login),
        }
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    pub(super) fn end(&self) {
        self.is_to_end.set(true);
        self.wake();
    }

    /// Whether a pause has to wait for it.
    pub(super) fn is_to_rest(&self) -> bool {
        self.rest.get() != Rest::Exempt
    }

    pub(super) const fn rest(&self) -> Rest {
        self.rest.get()
    }

    pub(super) fn go_on(&self) {
        if self.rest.get() == Rest::Resting {
            self.rest.set(Rest::Moving);
        }
    }

    pub(super) const fn progress(&self) -> Progress {
        self.progress.get()
    }

    pub(super) fn is_captured(&self) -> bool {
        self.identity.captured == Captured::Yes
    }

    pub(super) fn row(&self) -> ClientRow {
        let mut identity = self.identity.clone();
        if let Some(name) = &*self.application_name.borrow() {
            identity.application_name.clone_from(name);
        }
        ClientRow {
            number: self.number,
            identity,
            server_pid: self.server_pid.get(),
            progress: self.progress.get(),
            state: self.row_state(),
        }
    }

    pub(super) const fn row_state(&self) -> State {
        match self.rest.get() {
            Rest::Resting => State::Paused,
            Rest::Exempt | Rest::Moving => self.state.get(),
        }
    }
}

/// What others may see of a client.
#[derive(Debug, Clone)]
pub(crate) struct ClientRow {
    /// Its number, unique in the process.
    pub(crate) number: u64,
    pub(crate) identity: Identity,
    /// The source's process that serves it; 0 until it is known.
    pub(crate) server_pid: u32,
    pub(crate) progress: Progress,
    pub(crate) state: State,
}

/// A session's part in its worker's registry: it leaves when it is dropped.
#[derive(Debug)]
pub(crate) struct Member {
    registry: Rc<Registry>,
    client: Rc<Client>,
    registered: bool,
}

impl Member {
    pub(super) const fn new(registry: Rc<Registry>, client: Rc<Client>) -> Self {
        Self {
            registry,
            client,
            registered: false,
        }
    }

    /// What the session is asked to do. `waker` is remembered the first time: a session is one task
    /// and keeps its waker.
    pub(crate) fn phase(&mut self, waker: &Waker) -> Phase {
        if !self.registered {
            self.registered = true;
            *self.client.waker.borrow_mut() = Some(waker.clone());
        }
        if self.client.is_to_end.get() {
            return Phase::Ending;
        }
        self.registry.phase.get()
    }

    /// Whether the client's writes are captured.
    pub(crate) fn is_captured(&self) -> bool {
        self.client.is_captured()
    }

    /// The client has been let in: from now on a pause waits for it. One that only reads the log
    /// has no transactions that could end, so none waits for that.
    pub(crate) fn began(&self) {
        if self.client.identity.captured != Captured::Replication {
            self.client.rest.set(Rest::Moving);
        }
    }

    /// The session takes no request any more until the pause is over.
    pub(crate) fn came_to_rest(&self) {
        if self.client.rest.get() == Rest::Moving {
            self.client.rest.set(Rest::Resting);
            self.registry.came_to_rest();
        }
    }

    /// Whether a pause concerns it.
    pub(crate) fn heeds_pauses(&self) -> bool {
        self.client.identity.captured != Captured::Replication
    }

    /// Shows what the session has done and is at.
    pub(crate) fn publish(&self, progress: Progress, state: State) {
        self.client.progress.set(progress);
        self.client.state.set(state);
    }

    /// The source's process that serves the session.
    pub(crate) fn served_by(&self, server_pid: u32) {
        self.client.server_pid.set(server_pid);
    }

    /// The client has taken another name.
    pub(crate) fn calls_itself(&self, name: String) {
        *self.client.application_name.borrow_mut() = Some(name);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.registry.leave(&self.client);
    }
}

//! One database of a throw-away server: how to reach it, and small questions to it.
//!
//! Does not pool: a test opens what it needs.

use anyhow::{Context, Result};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Where a database is and as whom to go there. Always on loopback.
#[derive(Debug, Clone)]
pub struct Database {
    /// TCP port of the server, or of a proxy before it.
    pub port: u16,
    /// Database name.
    pub name: String,
    /// Role.
    pub user: String,
    /// Password, if the server asks for one.
    pub password: Option<String>,
}

impl Database {
    /// The database as the superuser.
    pub fn new(port: u16, name: &str) -> Self {
        Self {
            port,
            name: name.to_owned(),
            user: "postgres".to_owned(),
            password: None,
        }
    }

    /// With a password.
    #[must_use]
    pub fn with_password(self, password: Option<String>) -> Self {
        Self { password, ..self }
    }

    /// Another database of the same server.
    #[must_use]
    pub fn of_name(self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self
        }
    }

    /// As another role.
    #[must_use]
    pub fn as_user(&self, user: &str) -> Self {
        Self {
            user: user.to_owned(),
            ..self.clone()
        }
    }

    /// The same database behind another port: this is all that an application changes.
    #[must_use]
    pub fn through(&self, port: u16) -> Self {
        Self {
            port,
            ..self.clone()
        }
    }

    /// The connection string.
    pub fn uri(&self) -> String {
        let password = self.password.as_deref().map(percent_encoded);
        let password = password.map(|text| format!(":{text}")).unwrap_or_default();
        format!(
            "postgresql://{}{password}@127.0.0.1:{}/{}",
            self.user, self.port, self.name
        )
    }

    /// A connection, driven by a task of the current runtime.
    pub async fn connect(&self) -> Result<Client> {
        let mut config = tokio_postgres::Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user(&self.user)
            .dbname(&self.name);
        if let Some(password) = &self.password {
            config.password(password);
        }
        let connected = config.connect(NoTls).await;
        let (client, connection) =
            connected.with_context(|| format!("could not connect to {}", self.uri()))?;
        // The task ends when the client is dropped; an error shows in the client's next call.
        drop(tokio::spawn(connection));
        Ok(client)
    }

    /// Runs statements in a connection of their own.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        let client = self.connect().await?;
        client
            .batch_execute(sql)
            .await
            .with_context(|| format!("on port {}: {sql}", self.port))
    }

    /// The rows of one query, as text.
    pub async fn rows(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        let client = self.connect().await?;
        rows(&client, sql).await
    }

    /// The first column of the first row, as text; NULL and no row are empty.
    pub async fn value(&self, sql: &str) -> Result<String> {
        let rows = self.rows(sql).await?;
        let first = rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next());
        Ok(first.flatten().unwrap_or_default())
    }

    /// Writes a mark into the log and returns its LSN: all that committed before lies under it.
    pub async fn fence(&self) -> Result<String> {
        self.value("SELECT pg_logical_emit_message(true, 'fence', '')")
            .await
    }
}

/// The rows of one query on an open connection, as text.
pub async fn rows(client: &Client, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
    let messages = client
        .simple_query(sql)
        .await
        .with_context(|| sql.to_owned())?;
    let mut rows = Vec::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            let columns = 0..row.len();
            rows.push(
                columns
                    .map(|column| row.get(column).map(str::to_owned))
                    .collect(),
            );
        }
    }
    Ok(rows)
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

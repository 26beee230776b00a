//! Opens the file, lays out its tables, and says in our words what SQLite says in its own.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};

use super::{Durability, Options};
use crate::broker::Error;

/// Marks a file as ours: "Ghst".
const APPLICATION_ID: i64 = 0x4768_7374;
/// Goes up with every change of the tables.
const VERSION: i64 = 1;

/// A task is a row whose `record` is the JSON of all but the request, which never changes and may be long: it lies
/// apart, so that renewing a lease does not write a megabyte. The other columns are what the queues look for.
const TABLES: &str = "
    CREATE TABLE tasks (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        batch TEXT NOT NULL,            -- empty where it belongs to none
        version INTEGER NOT NULL,
        token TEXT,                     -- of the lease
        status TEXT NOT NULL,
        stage TEXT,                     -- while it waits in a queue
        class INTEGER NOT NULL,
        capability TEXT NOT NULL,       -- empty where it waits for an evaluator
        tenant TEXT NOT NULL,
        not_before INTEGER NOT NULL,
        queued_at INTEGER NOT NULL,
        lease_until INTEGER,
        deadline INTEGER,               -- until it is settled
        settled_at INTEGER,
        settlement INTEGER,             -- counts settlements up, in their order
        trail BLOB NOT NULL,            -- marks of the latest writes, newest first
        record TEXT NOT NULL,
        UNIQUE (id, batch)
    );
    CREATE INDEX tasks_by_status ON tasks (batch, status);
    CREATE INDEX tasks_by_turn ON tasks (stage, class, capability, tenant, not_before) WHERE stage IS NOT NULL;
    CREATE INDEX tasks_by_waiting ON tasks (queued_at) WHERE stage IS NOT NULL;
    CREATE INDEX tasks_by_lease ON tasks (lease_until) WHERE lease_until IS NOT NULL;
    CREATE INDEX tasks_by_deadline ON tasks (deadline) WHERE deadline IS NOT NULL;
    CREATE INDEX tasks_by_settlement ON tasks (settlement) WHERE settlement IS NOT NULL;
    CREATE INDEX tasks_by_batch_settlement ON tasks (batch, settlement) WHERE settlement IS NOT NULL;
    CREATE TABLE requests (seq INTEGER PRIMARY KEY, request TEXT NOT NULL);
    CREATE TRIGGER requests_go_with_their_task AFTER DELETE ON tasks
        BEGIN DELETE FROM requests WHERE seq = old.seq; END;
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE agents (agent_id TEXT PRIMARY KEY, info TEXT NOT NULL, until INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE store (now INTEGER NOT NULL, backlog INTEGER NOT NULL, settlements INTEGER NOT NULL);
    INSERT INTO store VALUES (0, 0, 0);
";

/// Came later. A store without it gets it, and a program that knows nothing of it does no harm.
const DOCUMENTS: &str = "
    CREATE TABLE IF NOT EXISTS documents (name TEXT PRIMARY KEY, version INTEGER NOT NULL, content BLOB NOT NULL);
";

/// Opens the store at `path`, or one in memory, and lays it out where it is new.
pub(super) fn connect(path: Option<&Path>, options: &Options) -> Result<Connection, Error> {
    let name = path.map_or("the store in memory".to_owned(), |path| path.display().to_string());
    let connection = match path {
        Some(path) => Connection::open(path),
        None => Connection::open_in_memory(),
    };
    connection
        .and_then(|connection| {
            connection.busy_timeout(options.lock_wait)?;
            connection.set_prepared_statement_cache_capacity(64);
            // A plan that depends on bound values is made anew for each of them; claims took about three times as long.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
            Ok(connection)
        })
        .map_err(Error::from)
        .and_then(|connection| lay_out(&connection, options).map(|()| connection))
        .map_err(|error| error.about(&name))
}

fn lay_out(connection: &Connection, options: &Options) -> Result<(), Error> {
    // Looked at before anything is written: a file that is not ours stays as it is.
    if !is_new(connection)? {
        check(connection)?;
    }
    let wal = "PRAGMA journal_mode = WAL";
    connection.query_row(wal, (), |row| row.get::<_, String>(0))?;
    connection.pragma_update(
        None,
        "synchronous",
        match options.durability {
            Durability::PowerLoss => "FULL",
            Durability::Crash => "NORMAL",
        },
    )?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    // Another process may have laid it out meanwhile.
    let laid_out = if is_new(connection)? {
        connection.execute_batch(&format!(
            "{TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
        ))?;
        Ok(())
    } else {
        check(connection)
    };
    let laid_out = laid_out.and_then(|()| Ok(connection.execute_batch(DOCUMENTS)?));
    connection.execute_batch("COMMIT")?;
    laid_out
}

fn is_new(connection: &Connection) -> Result<bool, Error> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    Ok(tables == 0)
}

fn check(connection: &Connection) -> Result<(), Error> {
    let number = |pragma: &str| {
        connection.query_row(&format!("PRAGMA {pragma}"), (), |row| row.get::<_, i64>(0)).map_err(Error::from)
    };
    if number("application_id")? != APPLICATION_ID {
        return Err(Error::Damaged("this is the SQLite file of another program".to_owned()));
    }
    match number("user_version")? {
        VERSION => Ok(()),
        other => {
            Err(Error::Damaged(format!("its tables are of version {other}, this program's of {VERSION}")))
        }
    }
}

impl Error {
    /// The same error, naming the file it is about.
    fn about(self, name: &str) -> Self {
        match self {
            Error::Locked(why) => Error::Locked(format!("{name}: {why}")),
            Error::DiskFull(why) => Error::DiskFull(format!("{name}: {why}")),
            Error::Unavailable(why) => Error::Unavailable(format!("{name}: {why}")),
            Error::Damaged(why) => Error::Damaged(format!("{name}: {why}")),
            other @ (Error::Full { .. } | Error::Misconfigured(_)) => other,
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let words = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Locked(words),
            Some(ErrorCode::DiskFull) => Error::DiskFull(words),
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::OutOfMemory,
            ) => Error::Unavailable(words),
            // Damage proper, and tables or values that no version of ours writes.
            _ => Error::Damaged(words),
        }
    }
}

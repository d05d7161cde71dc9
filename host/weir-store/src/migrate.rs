//! The format of the database: each version is a script, applied once, in order. A script that was released never
//! changes; what it made opens for ever.

use std::path::Path;

use rusqlite::Connection;

use crate::{OpenError, StoreError};

const MIGRATIONS: [&str; 10] = [
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_sessions.sql"),
    include_str!("migrations/0003_topics.sql"),
    include_str!("migrations/0004_certificates.sql"),
    include_str!("migrations/0005_shadows.sql"),
    include_str!("migrations/0006_services.sql"),
    include_str!("migrations/0007_gateways.sql"),
    include_str!("migrations/0008_indexes.sql"),
    include_str!("migrations/0009_windows.sql"),
    include_str!("migrations/0010_plugins.sql"),
];

/// SQLite's application id: "WEIR".
const APPLICATION: i64 = 0x5745_4952;

/// Brings the database to the newest version. Each step is one transaction.
pub(crate) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| open_error(path, error.into());
    let number = |connection: &Connection, sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let known = MIGRATIONS.len() as i64;
    let application = number(connection, "PRAGMA application_id").map_err(failed)?;
    let found = number(connection, "PRAGMA user_version").map_err(failed)?;
    let tables = number(connection, "SELECT count(*) FROM sqlite_schema").map_err(failed)?;
    if application != APPLICATION && (application, found, tables) != (0, 0, 0) {
        let reason = "it is a database of another program".to_owned();
        return Err(OpenError::Damaged { path: path.to_owned(), reason });
    }
    if found > known {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    for (version, script) in (1..).zip(MIGRATIONS).skip_while(|(version, _)| *version <= found) {
        let step = connection.transaction().map_err(failed)?;
        step.execute_batch(script).map_err(failed)?;
        step.pragma_update(None, "application_id", APPLICATION).map_err(failed)?;
        step.pragma_update(None, "user_version", version).map_err(failed)?;
        step.commit().map_err(failed)?;
    }
    Ok(())
}

/// An error while opening, with the file's name.
pub(crate) fn open_error(path: &Path, error: StoreError) -> OpenError {
    let path = path.to_owned();
    match error {
        StoreError::Damaged(reason) => OpenError::Damaged { path, reason },
        other => OpenError::Failed { path, reason: other.to_string() },
    }
}

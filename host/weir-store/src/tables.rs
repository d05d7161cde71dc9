//! Devices and shadows as tables: many rows, read once, beside everything else.
//!
//! A scan has a connection of its own, so that it neither waits for other readers nor holds one up, and sees one state
//! of the database. It can be ended between two steps of SQLite, also where no row is found.
//!
//! A condition becomes SQL that every row which meets it passes; more may pass, and the reader looks again. That leaves
//! room where SQLite means something else: `true` is 1 to it, its numbers are read a little differently, and of texts it
//! knows no type that was demanded.

mod condition;
mod indexes;

use rusqlite::{
    OpenFlags, Row, params_from_iter,
    types::{FromSqlError, ValueRef},
};
use weir_core::table::Condition;

use self::condition::Clauses;
pub use self::indexes::{INDEXES, IndexRow};
use crate::{Store, StoreError, row, store::connect};

/// Steps of SQLite's machine, some of them for each row, after which a scan looks whether anybody still wants it.
const STEPS: i32 = 1_000;

/// A device as a scan shows it.
#[derive(Debug, Clone, Copy)]
pub struct DeviceFields<'a> {
    pub product: &'a str,
    pub device: &'a str,
    pub enabled: bool,
    pub created_at: i64,
}

/// A shadow as a scan shows it.
#[derive(Debug, Clone, Copy)]
pub struct ShadowFields<'a> {
    pub product: &'a str,
    pub device: &'a str,
    /// Empty: the classic one.
    pub name: &'a str,
    pub version: u64,
    pub changed_at: i64,
    /// JSON; `None`: nothing, or not asked for.
    pub reported: Option<&'a str>,
    pub desired: Option<&'a str>,
    pub metadata: Option<&'a str>,
}

/// Which of a shadow's texts are read.
#[derive(Debug, Clone, Copy, Default)]
pub struct ShadowTexts {
    pub reported: bool,
    pub desired: bool,
    pub metadata: bool,
}

impl Store {
    /// Hands over devices until `take` says false. Blocks. `is_over` is asked now and then.
    pub fn scan_devices(
        &self,
        conditions: &[Condition],
        is_over: impl FnMut() -> bool + Send + 'static,
        mut take: impl FnMut(DeviceFields<'_>) -> bool,
    ) -> Result<(), StoreError> {
        let clauses = Clauses::of(conditions, &["product", "device"], &[]);
        let select = "SELECT product, device, enabled, created_at FROM devices";
        self.scan(select, &clauses, is_over, |row| {
            Ok(take(DeviceFields {
                product: row.get_ref(0)?.as_str().map_err(unread)?,
                device: row.get_ref(1)?.as_str().map_err(unread)?,
                enabled: row.get(2)?,
                created_at: row.get(3)?,
            }))
        })
    }

    /// Hands over shadows until `take` says false. Blocks. `is_over` is asked now and then.
    pub fn scan_shadows(
        &self,
        conditions: &[Condition],
        texts: ShadowTexts,
        is_over: impl FnMut() -> bool + Send + 'static,
        mut take: impl FnMut(ShadowFields<'_>) -> bool,
    ) -> Result<(), StoreError> {
        let clauses = self.shadow_clauses(conditions)?;
        self.scan(&shadow_select(texts), &clauses, is_over, |row| {
            Ok(take(ShadowFields {
                product: row.get_ref(0)?.as_str().map_err(unread)?,
                device: row.get_ref(1)?.as_str().map_err(unread)?,
                name: row.get_ref(2)?.as_str().map_err(unread)?,
                version: row::unsigned(row, 3)?,
                changed_at: row.get(4)?,
                reported: text(row, 5)?,
                desired: text(row, 6)?,
                metadata: text(row, 7)?,
            }))
        })
    }

    /// How SQLite would go about a scan of shadows: the words of its EXPLAIN QUERY PLAN, a step a line.
    pub fn explain_shadows(&self, conditions: &[Condition]) -> Result<String, StoreError> {
        let clauses = self.shadow_clauses(conditions)?;
        let connection = connect(self.path(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let sql = format!("EXPLAIN QUERY PLAN {}", clauses.complete(&shadow_select(ShadowTexts::default())));
        let mut explain = connection.prepare(&sql)?;
        let steps = explain.query_map(params_from_iter(&clauses.values), |row| row.get::<_, String>(3))?;
        Ok(steps.collect::<Result<Vec<_>, _>>()?.join("\n"))
    }

    fn shadow_clauses(&self, conditions: &[Condition]) -> Result<Clauses, StoreError> {
        let indexes = self.point(indexes::all)?;
        Ok(Clauses::of(conditions, &["product", "device", "name"], &indexes))
    }

    fn scan(
        &self,
        select: &str,
        clauses: &Clauses,
        is_over: impl FnMut() -> bool + Send + 'static,
        mut take: impl FnMut(&Row<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let connection = connect(self.path(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.progress_handler(STEPS, Some(is_over))?;
        let mut statement = connection.prepare(&clauses.complete(select))?;
        let mut rows = statement.query(params_from_iter(&clauses.values))?;
        loop {
            match rows.next() {
                Ok(Some(row)) if take(row)? => {}
                Ok(_) => return Ok(()),
                // As it was asked to.
                Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => {
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn shadow_select(texts: ShadowTexts) -> String {
    let column = |is_read: bool, name: &'static str| if is_read { name } else { "NULL" };
    format!(
        "SELECT product, device, name, version, changed_at, {}, {}, {} FROM shadows",
        column(texts.reported, "reported"),
        column(texts.desired, "desired"),
        column(texts.metadata, "metadata"),
    )
}

fn unread(error: FromSqlError) -> StoreError {
    StoreError::Damaged(error.to_string())
}

fn text<'r>(row: &'r Row<'_>, column: usize) -> Result<Option<&'r str>, StoreError> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        value => Ok(Some(value.as_str().map_err(unread)?)),
    }
}

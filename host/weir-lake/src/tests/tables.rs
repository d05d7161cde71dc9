//! Tables beside messages: what a table is asked for, and what comes of it.

use std::sync::Mutex;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatchOptions, StringArray, TimestampMillisecondArray},
    datatypes::{Field, Schema},
};
use weir_core::{
    seams::{BoxFuture, Table, TableError, TakeRows},
    table::{Condition, TableScan, TableSchema},
};

use super::*;

/// The table `shadows` with three rows, which notes what it was asked for.
struct Shadows {
    schema: Arc<TableSchema>,
    asked: Mutex<Vec<TableScan>>,
    /// Gives its rows until nobody wants more.
    endless: bool,
}

impl Table for Shadows {
    fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    fn settle(&self) -> BoxFuture<'_, Result<(), TableError>> {
        Box::pin(async { Ok(()) })
    }

    fn scan(&self, scan: &TableScan, rows: Arc<dyn TakeRows>) -> Result<(), TableError> {
        self.asked.lock().unwrap().push(scan.clone());
        let texts = |values: [Option<&str>; 3]| Arc::new(values.into_iter().collect::<StringArray>()) as ArrayRef;
        let all: [ArrayRef; 9] = [
            texts([Some("A1B2C3D4E5"); 3]),
            texts([Some("a"), Some("b"), Some("c")]),
            texts([None, None, Some("net")]),
            Arc::new(Int64Array::from(vec![1, 2, 3])),
            texts([Some(r#"{"fw":1,"temp":30.5}"#), Some(r#"{"fw":"1.1","temp":20}"#), None]),
            texts([Some(r#"{"fw":true}"#), Some(r#"{"fw":"1.1"}"#), Some(r#"{"fw":"1.1"}"#)]),
            texts([None; 3]),
            texts([Some("{}"); 3]),
            Arc::new(TimestampMillisecondArray::from(vec![0, 1, 2]).with_timezone("UTC")),
        ];
        let fields = scan.columns.iter().map(|place| Field::new("", all[*place].data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let columns = scan.columns.iter().map(|place| Arc::clone(&all[*place])).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(3));
        let batch = RecordBatch::try_new_with_options(schema, columns, &options).unwrap();
        while rows.take(batch.clone()) && self.endless {}
        Ok(())
    }
}

fn table(endless: bool) -> Arc<Shadows> {
    Arc::new(Shadows { schema: TableSchema::shadows(), asked: Mutex::default(), endless })
}

async fn lake_with(table: &Arc<Shadows>, options: QueryOptions) -> Lake {
    let tables = vec![Arc::clone(table) as Arc<dyn Table>];
    let catalog = Box::new(|| Box::pin(async { Ok(Catalog::default()) }) as BoxFuture<'static, _>);
    Lake::new(Arc::new(log(&MESSAGES).await), None, tables, catalog, options)
}

/// The rows, and what the table was asked for besides.
async fn check(sql: &str, expected: &str, columns: &[usize], conditions: &str) {
    let table = table(false);
    let batches = rows(&lake_with(&table, QueryOptions::default()).await, sql).await.unwrap();
    assert_eq!(cells(&batches), expected, "{sql}");
    let asked = table.asked.lock().unwrap().pop().unwrap();
    assert_eq!(asked.columns, columns, "{sql}");
    assert_eq!(asked.conditions.iter().map(shown).collect::<Vec<_>>().join(", "), conditions, "{sql}");
}

fn shown(condition: &Condition) -> String {
    match condition {
        Condition::In(field, values) => format!("{field} in {values:?}"),
        Condition::Between(field, low, high) => format!("{field} from {low:?} to {high:?}"),
        Condition::Present(field) => format!("{field} present"),
        Condition::Absent(field) => format!("{field} absent"),
        Condition::Differ(left, right) => format!("{left} differs {right}"),
    }
}

#[tokio::test]
async fn a_table_is_asked_for_what_the_query_needs() {
    let differ = "reported.fw differs desired.fw";
    check("SELECT device FROM shadows WHERE reported.fw <> desired.fw", "device; a", &[1, 4, 5], differ).await;
    check("SELECT device FROM shadows WHERE reported.fw::text <> desired.fw", "device", &[1, 4, 5], differ).await;
    let text = r#"reported.fw in [Text("1.1")]"#;
    check("SELECT device FROM shadows WHERE reported.fw = '1.1'", "device; b", &[1, 4], text).await;
    let range = "reported.temp from Some(20.0) to None";
    check("SELECT device FROM shadows WHERE reported.temp > 20", "device; a", &[1, 4], range).await;
    check("SELECT device FROM shadows WHERE 20 < reported.temp", "device; a", &[1, 4], range).await;
    check("SELECT device FROM shadows WHERE desired.fw", "device; a", &[1, 5], "desired.fw in [Boolean(true)]").await;
    check("SELECT device FROM shadows WHERE name IS NOT NULL", "device; c", &[1, 2], "name present").await;
    check("SELECT count(*) AS n FROM shadows WHERE reported.fw IS NULL", "n; 1", &[4], "reported.fw absent").await;
    // What only looks alike is left to the query.
    check("SELECT device FROM shadows WHERE reported.fw = desired.fw", "device; b", &[1, 4, 5], "").await;
    check("SELECT device FROM shadows WHERE reported.fw <> '1.2'", "device; b", &[1, 4], "").await;
    check("SELECT reported FROM shadows WHERE version * 2 = 4", r#"reported; {"fw":"1.1","temp":20}"#, &[3, 4], "")
        .await;
    let both = r#"device in [Text("a"), Text("b")], reported.temp from None to Some(30.0)"#;
    let sql = "SELECT version FROM shadows WHERE device IN ('a', 'b') AND reported.temp <= 30";
    check(sql, "version; 2", &[1, 3, 4], both).await;
}

#[tokio::test]
async fn messages_and_tables_are_joined() {
    let sql = "SELECT s.device, m.temp, s.reported.temp AS was FROM 'A1B2C3D4E5/+/event' AS m
               JOIN shadows AS s ON msg.device = s.device WHERE m.temp > 30 ORDER BY m.temp::double";
    check(sql, "device temp was; a 31.5 30.5; a 40 30.5", &[1, 4], "").await;
    let sql = "SELECT s.device, count(msg.offset) AS n FROM shadows AS s
               LEFT JOIN 'A1B2C3D4E5/+/event' AS m ON msg.device = s.device GROUP BY s.device ORDER BY s.device";
    check(sql, "device n; a 3; b 2; c 0", &[1], "").await;
}

#[tokio::test]
async fn a_table_ends_with_its_query() {
    let options = QueryOptions { time: Duration::from_millis(50), ..QueryOptions::default() };
    let endless = table(true);
    let error = rows(&lake_with(&endless, options).await, "SELECT count(*) AS n FROM shadows").await.unwrap_err();
    assert!(error.to_string().starts_with("the query took longer than"), "{error}");
    let few = lake_with(&endless, QueryOptions::default()).await;
    let batches = rows(&few, "SELECT device FROM shadows LIMIT 2").await.unwrap();
    assert_eq!(cells(&batches), "device; a; b");
}

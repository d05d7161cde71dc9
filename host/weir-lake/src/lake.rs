//! Planning with the rules' planner, running with DataFusion, within bounds.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{
    catalog::{TableProvider, streaming::StreamingTable},
    common::tree_node::{Transformed, TreeNode},
    datasource::provider_as_source,
    error::DataFusionError,
    execution::{
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::GreedyMemoryPool,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    logical_expr::{LogicalPlan, TableScan},
    prelude::{SessionConfig, SessionContext},
};
use futures::StreamExt;
use weir_core::seams::{BoxFuture, Catalog, History, QueryEngine, QueryError, Table};
use weir_rules::{
    evaluate::InputReader,
    plan::{Query, QueryColumn, QueryRead, plan_query},
};

use crate::{messages::Messages, tables::QueriedTable, windows::Windows};

/// What one query may take.
#[derive(Debug, Clone)]
pub struct QueryOptions {
    /// Rows of a result.
    pub rows: usize,
    /// Bytes of memory that sorting and grouping may hold; nothing is spilled to disk.
    pub memory: usize,
    /// From the first byte read to the last row.
    pub time: Duration,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self { rows: 100_000, memory: 256 << 20, time: Duration::from_secs(60) }
    }
}

/// Tells the declared schemas as they are when it is asked.
type TellCatalog = Box<dyn Fn() -> BoxFuture<'static, Result<Catalog, QueryError>> + Send + Sync>;

/// Runs queries over a [`History`] and tables.
pub struct Lake {
    history: Arc<dyn History>,
    tables: Vec<Arc<dyn Table>>,
    catalog: TellCatalog,
    options: QueryOptions,
}

impl fmt::Debug for Lake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lake").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Lake {
    /// `catalog` is asked once for each query.
    pub fn new(
        history: Arc<dyn History>,
        tables: Vec<Arc<dyn Table>>,
        catalog: TellCatalog,
        options: QueryOptions,
    ) -> Self {
        Self { history, tables, catalog, options }
    }

    async fn run(&self, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
        let mut catalog = (self.catalog)().await?;
        catalog.tables = self.tables.iter().map(|table| Arc::clone(table.schema())).collect();
        let query = plan_query(sql, &catalog)?;
        self.settle(&query).await?;
        let plan = self.with_sources(&query).map_err(|error| self.failure(&error))?;
        let context = SessionContext::new_with_config_rt(
            // One partition: rows keep the order of the log where nothing sorts them.
            SessionConfig::new().with_target_partitions(1),
            Arc::new(self.runtime().map_err(|error| self.failure(&error))?),
        );
        let frame = context.execute_logical_plan(plan).await.map_err(|error| self.failure(&error))?;
        let mut stream = frame.execute_stream().await.map_err(|error| self.failure(&error))?;
        let schema = result_schema(&stream.schema(), &query.columns);
        let (mut batches, mut rows) = (Vec::new(), 0);
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|error| self.failure(&error))?;
            rows += batch.num_rows();
            if rows > self.options.rows {
                let limit = self.options.rows;
                return Err(QueryError::LimitExceeded(format!("the result has more than {limit} rows: add LIMIT")));
            }
            batches.push(named(&batch, &schema).map_err(|error| self.failure(&error.into()))?);
        }
        if batches.is_empty() {
            // A result without rows still has columns.
            batches.push(RecordBatch::new_empty(schema));
        }
        Ok(batches)
    }

    /// Tables that the query reads have what was answered before.
    async fn settle(&self, query: &Query) -> Result<(), QueryError> {
        for source in &query.sources {
            let QueryRead::Table { table, .. } = &source.read else { continue };
            if let Some(table) = self.table(table) {
                table.settle().await.map_err(|error| QueryError::Failed(error.to_string()))?;
            }
        }
        Ok(())
    }

    fn table(&self, name: &str) -> Option<&Arc<dyn Table>> {
        self.tables.iter().find(|table| table.schema().name == name)
    }

    /// The plan, its sources replaced by what they stand for.
    fn with_sources(&self, query: &Query) -> Result<LogicalPlan, DataFusionError> {
        let provide = |node: LogicalPlan| {
            let LogicalPlan::TableScan(scan) = node else { return Ok(Transformed::no(node)) };
            let name = scan.table_name.table();
            let source = query.sources.iter().find(|source| source.name == name);
            let missing = || DataFusionError::Plan(format!("there is no source {name}"));
            let provider = self.provider(&source.ok_or_else(missing)?.read, scan.source.schema())?;
            let scan = TableScan { source: provider_as_source(provider), ..scan };
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        };
        Ok(query.plan.clone().transform(provide)?.data)
    }

    /// `schema`: a column for each input.
    fn provider(&self, read: &QueryRead, schema: SchemaRef) -> Result<Arc<dyn TableProvider>, DataFusionError> {
        match read {
            QueryRead::Messages { filter, inputs } => {
                let messages = Messages {
                    history: Arc::clone(&self.history),
                    source: filter.clone(),
                    inputs: InputReader::new(inputs),
                    schema: Arc::clone(&schema),
                };
                Ok(Arc::new(StreamingTable::try_new(schema, vec![Arc::new(messages)])?))
            }
            QueryRead::Windows(plan) => {
                let windows =
                    Windows { history: Arc::clone(&self.history), plan: Arc::clone(plan), memory: self.options.memory };
                Ok(Arc::new(StreamingTable::try_new(schema, vec![Arc::new(windows)])?))
            }
            QueryRead::Table { table, inputs } => {
                let missing = || DataFusionError::Plan(format!("there is no table {table}"));
                let table = Arc::clone(self.table(table).ok_or_else(missing)?);
                Ok(Arc::new(QueriedTable { table, inputs: inputs.clone(), schema }))
            }
        }
    }

    fn runtime(&self) -> Result<RuntimeEnv, DataFusionError> {
        RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(self.options.memory)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build()
    }

    fn failure(&self, error: &DataFusionError) -> QueryError {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => {
                let limit = self.options.memory >> 20;
                let help = "select fewer messages, or group by fewer values";
                QueryError::LimitExceeded(format!("the query needs more than {limit} MiB of memory: {help}"))
            }
            error => QueryError::Failed(error.strip_backtrace()),
        }
    }
}

impl QueryEngine for Lake {
    fn query<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<Vec<RecordBatch>, QueryError>> {
        Box::pin(async move {
            let bounded = tokio::time::timeout(self.options.time, self.run(sql)).await;
            bounded.unwrap_or_else(|_| {
                let limit = self.options.time.as_secs();
                let help = "narrow its WHERE or its topic filter";
                Err(QueryError::LimitExceeded(format!("the query took longer than {limit} s: {help}")))
            })
        })
    }
}

/// The columns under the names that the query gave them. Columns of JSON text are marked as Arrow's canonical extension
/// type, so that whoever prints them need not quote them.
fn result_schema(schema: &SchemaRef, columns: &[QueryColumn]) -> SchemaRef {
    let fields = schema.fields().iter().zip(columns).map(|(field, column)| {
        let field = Field::new(&column.name, field.data_type().clone(), true);
        if column.is_json && *field.data_type() == DataType::Utf8 {
            field.with_metadata(HashMap::from([("ARROW:extension:name".to_owned(), "arrow.json".to_owned())]))
        } else {
            field
        }
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn named(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, arrow::error::ArrowError> {
    // Columns that only served to sort stand behind those of the result.
    let columns = batch.columns().iter().take(schema.fields().len()).cloned().collect();
    RecordBatch::try_new(Arc::clone(schema), columns)
}

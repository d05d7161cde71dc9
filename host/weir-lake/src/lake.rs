//! Planning with the rules' planner, running with DataFusion, within bounds.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{
    catalog::streaming::StreamingTable,
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
use weir_core::seams::{BoxFuture, Catalog, History, QueryEngine, QueryError};
use weir_rules::{
    evaluate::InputReader,
    plan::{Query, QueryColumn, plan_query},
};

use crate::messages::Messages;

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

/// Runs queries over a [`History`].
pub struct Lake {
    history: Arc<dyn History>,
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
    pub fn new(history: Arc<dyn History>, catalog: TellCatalog, options: QueryOptions) -> Self {
        Self { history, catalog, options }
    }

    async fn run(&self, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
        let query = plan_query(sql, &(self.catalog)().await?)?;
        let plan = self.with_messages(&query).map_err(|error| self.failure(&error))?;
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

    /// The plan, its one table replaced by the messages.
    fn with_messages(&self, query: &Query) -> Result<LogicalPlan, DataFusionError> {
        let inputs = InputReader::new(&query.inputs);
        let provide = |node: LogicalPlan| {
            let LogicalPlan::TableScan(scan) = node else { return Ok(Transformed::no(node)) };
            let messages = Messages {
                history: Arc::clone(&self.history),
                sources: query.sources.clone(),
                inputs: inputs.clone(),
                schema: scan.source.schema(),
            };
            let table = StreamingTable::try_new(scan.source.schema(), vec![Arc::new(messages)])?;
            let scan = TableScan { source: provider_as_source(Arc::new(table)), ..scan };
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        };
        Ok(query.plan.clone().transform(provide)?.data)
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

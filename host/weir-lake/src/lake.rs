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
        SendableRecordBatchStream,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::GreedyMemoryPool,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    logical_expr::{LogicalPlan, TableScan},
    prelude::{SessionConfig, SessionContext},
};
use futures::StreamExt;
use tokio::{
    runtime::Handle,
    sync::mpsc,
    time::{Instant, timeout_at},
};
use weir_core::{
    history::{Backtest, BacktestReport, QueryRequest, QueryRun, Replay, ReplayRun},
    seams::{BoxFuture, Catalog, History, HistoryError, QueryEngine, QueryError, Table},
};
use weir_rules::plan::{Query, QueryColumn, QueryRead, plan_query};

use crate::{
    archive::Archive,
    messages::{QueriedMessages, WAITING_BATCHES},
    read::Past,
    tables::QueriedTable,
    windows::Windows,
};

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

/// Runs queries and backtests over the log, the lake and tables.
pub struct Lake {
    past: Past,
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
    /// `catalog` is asked once for each query. Without an archive the past is what the log still holds.
    pub fn new(
        history: Arc<dyn History>,
        archive: Option<Archive>,
        tables: Vec<Arc<dyn Table>>,
        catalog: TellCatalog,
        options: QueryOptions,
    ) -> Self {
        Self { past: Past { log: history, archive }, tables, catalog, options }
    }

    /// Plans a query and begins to run it.
    async fn begin(&self, request: QueryRequest<'_>, deadline: Instant) -> Result<Running, QueryError> {
        let mut catalog = (self.catalog)().await?;
        catalog.tables = self.tables.iter().map(|table| Arc::clone(table.schema())).collect();
        let query = plan_query(request.sql, &catalog)?;
        self.settle(&query).await?;
        if query.sources.iter().any(|source| matches!(source.read, QueryRead::Messages { .. })) {
            self.check()?;
        }
        let failure = |error: DataFusionError| failure(&error, &self.options);
        let plan = self.with_sources(&query, request).map_err(failure)?;
        let context = SessionContext::new_with_config_rt(
            // One partition: rows keep the order of the log where nothing sorts them.
            SessionConfig::new().with_target_partitions(1),
            Arc::new(self.runtime().map_err(failure)?),
        );
        let frame = context.execute_logical_plan(plan).await.map_err(failure)?;
        let stream = frame.execute_stream().await.map_err(failure)?;
        let schema = result_schema(&stream.schema(), &query.columns);
        Ok(Running { batches: Some(executed(stream)), schema, rows: 0, deadline, options: self.options.clone() })
    }

    /// That the past can be read.
    fn check(&self) -> Result<(), QueryError> {
        self.past.check().map_err(|error| QueryError::Unavailable(error.to_string()))
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
    fn with_sources(&self, query: &Query, request: QueryRequest<'_>) -> Result<LogicalPlan, DataFusionError> {
        let provide = |node: LogicalPlan| {
            let LogicalPlan::TableScan(scan) = node else { return Ok(Transformed::no(node)) };
            let name = scan.table_name.table();
            let source = query.sources.iter().find(|source| source.name == name);
            let missing = || DataFusionError::Plan(format!("there is no source {name}"));
            let provider = self.provider(&source.ok_or_else(missing)?.read, scan.source.schema(), request)?;
            let scan = TableScan { source: provider_as_source(provider), ..scan };
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        };
        Ok(query.plan.clone().transform(provide)?.data)
    }

    /// `schema`: a column for each input.
    fn provider(
        &self,
        read: &QueryRead,
        schema: SchemaRef,
        request: QueryRequest<'_>,
    ) -> Result<Arc<dyn TableProvider>, DataFusionError> {
        match read {
            QueryRead::Messages { filter, inputs } => Ok(Arc::new(QueriedMessages {
                past: self.past.clone(),
                source: filter.clone(),
                time: request.time,
                inputs: inputs.clone(),
                schema,
                progress: Arc::clone(request.progress),
            })),
            QueryRead::Windows(plan) => {
                let windows = Windows {
                    past: self.past.clone(),
                    time: request.time,
                    plan: Arc::clone(plan),
                    memory: self.options.memory,
                    progress: Arc::clone(request.progress),
                };
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
}

impl QueryEngine for Lake {
    fn query<'a>(&'a self, request: QueryRequest<'a>) -> BoxFuture<'a, Result<Box<dyn QueryRun>, QueryError>> {
        Box::pin(async move {
            let deadline = Instant::now() + self.options.time;
            let begun = timeout_at(deadline, self.begin(request, deadline)).await;
            let running = begun.unwrap_or_else(|_| Err(too_long(&self.options)))?;
            Ok(Box::new(running) as Box<dyn QueryRun>)
        })
    }

    fn backtest(&self, backtest: Backtest) -> BoxFuture<'_, Result<BacktestReport, QueryError>> {
        Box::pin(async move {
            self.check()?;
            let catalog = (self.catalog)().await?;
            crate::backtest::run(&self.past, catalog, backtest).await
        })
    }

    fn replay(&self, replay: Replay) -> BoxFuture<'_, Result<Box<dyn ReplayRun>, QueryError>> {
        Box::pin(async move {
            self.check()?;
            let catalog = (self.catalog)().await?;
            crate::backtest::replay(&self.past, &catalog, replay)
        })
    }
}

/// A query that runs.
struct Running {
    /// `None` after its end or an error.
    batches: Option<mpsc::Receiver<Result<RecordBatch, DataFusionError>>>,
    schema: SchemaRef,
    /// Those of the result so far.
    rows: usize,
    deadline: Instant,
    options: QueryOptions,
}

impl Running {
    async fn next_batch(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        let Some(batches) = &mut self.batches else { return Ok(None) };
        let next = timeout_at(self.deadline, batches.recv()).await.map_err(|_| too_long(&self.options))?;
        let Some(batch) = next.transpose().map_err(|error| failure(&error, &self.options))? else { return Ok(None) };
        self.rows += batch.num_rows();
        if self.rows > self.options.rows {
            let limit = self.options.rows;
            return Err(QueryError::LimitExceeded(format!("the result has more than {limit} rows: add LIMIT")));
        }
        named(&batch, &self.schema).map(Some).map_err(|error| failure(&error.into(), &self.options))
    }
}

impl QueryRun for Running {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn next(&mut self) -> BoxFuture<'_, Option<Result<RecordBatch, QueryError>>> {
        Box::pin(async move {
            let next = self.next_batch().await.transpose();
            if !matches!(next, Some(Ok(_))) {
                // What it was doing ends with it.
                self.batches = None;
            }
            next
        })
    }
}

/// Runs a plan on a thread of its own: sorting, grouping and joining take longer than devices should wait for one of the
/// runtime's. It ends soon after the receiver is dropped.
fn executed(mut stream: SendableRecordBatchStream) -> mpsc::Receiver<Result<RecordBatch, DataFusionError>> {
    let (batches, receiver) = mpsc::channel(WAITING_BATCHES);
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || {
        handle.block_on(async move {
            loop {
                let next = tokio::select! {
                    biased;
                    () = batches.closed() => return,
                    next = stream.next() => next,
                };
                let Some(batch) = next else { return };
                let failed = batch.is_err();
                if batches.send(batch).await.is_err() || failed {
                    return;
                }
            }
        });
    });
    receiver
}

fn too_long(options: &QueryOptions) -> QueryError {
    let limit = options.time.as_secs();
    let help = "narrow its WHERE or its topic filter";
    QueryError::LimitExceeded(format!("the query took longer than {limit} s: {help}"))
}

fn failure(error: &DataFusionError, options: &QueryOptions) -> QueryError {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => {
            let limit = options.memory >> 20;
            let help = "select fewer messages, or group by fewer values";
            QueryError::LimitExceeded(format!("the query needs more than {limit} MiB of memory: {help}"))
        }
        DataFusionError::External(error) if error.is::<HistoryError>() => QueryError::Unavailable(error.to_string()),
        error => QueryError::Failed(error.strip_backtrace()),
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

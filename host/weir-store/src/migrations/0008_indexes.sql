-- Indexes that users declare on shadows. Each stands for an index of SQLite that is named "declared_" and its name.

CREATE TABLE indexes (
    name TEXT PRIMARY KEY,
    text TEXT NOT NULL, -- the whole statement as written
    indexed TEXT NOT NULL, -- JSON
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

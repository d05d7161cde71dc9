-- Times are milliseconds since 1970. Offsets are unsigned and stored as the signed integer of the same bits: they are
-- compared for equality only. Sealed columns are encrypted with the key file.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE products (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    schema TEXT NOT NULL, -- JSON: [[path, type], …]
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE devices (
    product TEXT NOT NULL REFERENCES products (id),
    device TEXT NOT NULL,
    psk BLOB NOT NULL, -- sealed
    enabled INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (product, device)
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    product TEXT NOT NULL,
    device TEXT NOT NULL,
    hash BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    FOREIGN KEY (product, device) REFERENCES devices (product, device) ON DELETE CASCADE
) STRICT;
CREATE INDEX tokens_by_device ON tokens (product, device);

CREATE TABLE keys (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL, -- JSON
    hash BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE rules (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    text TEXT NOT NULL,
    owner TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    start INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE rule_versions (
    name TEXT NOT NULL REFERENCES rules (name) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    text TEXT NOT NULL,
    owner TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE sinks (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL, -- sealed
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE action_progress (
    rule TEXT NOT NULL REFERENCES rules (name) ON DELETE CASCADE,
    action INTEGER NOT NULL,
    position INTEGER, -- NULL: at the head
    read INTEGER NOT NULL,
    matched INTEGER NOT NULL,
    unmatched INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    produced INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    dead_lettered INTEGER NOT NULL,
    expired INTEGER NOT NULL,
    PRIMARY KEY (rule, action)
) STRICT, WITHOUT ROWID;

CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    rule TEXT NOT NULL,
    action INTEGER NOT NULL,
    reason TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    first_offset INTEGER NOT NULL, -- of the row, or of the range
    end_offset INTEGER, -- of a range; NULL: this is a row, and the columns below say which
    row INTEGER,
    topic TEXT,
    product TEXT,
    device TEXT,
    accepted_at INTEGER,
    qos INTEGER,
    hop INTEGER,
    arguments TEXT, -- JSON: [[setting, value], …]
    failure TEXT,
    payload BLOB
) STRICT;
CREATE INDEX dead_letters_by_rule ON dead_letters (rule, id);

CREATE TABLE dead_letter_totals (
    rule TEXT PRIMARY KEY,
    kept INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    dropped INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE cursors (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE snapshots (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    bytes BLOB NOT NULL
) STRICT;

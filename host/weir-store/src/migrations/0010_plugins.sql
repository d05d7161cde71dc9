-- Plugins: WebAssembly components by name, and what they keep between calls.

CREATE TABLE plugins (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL, -- counts what was pushed by this name
    digest TEXT NOT NULL, -- SHA-256 of the component, in hex
    summary TEXT NOT NULL, -- JSON: what is known of the component
    component BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE plugin_values (
    owner TEXT NOT NULL, -- the sink that uses the plugin
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;

-- Shadows as the log makes them, as they were after every record below the cursor "shadows". Records at or after it are
-- applied again at the start.

CREATE TABLE shadows (
    product TEXT NOT NULL,
    device TEXT NOT NULL,
    name TEXT NOT NULL, -- empty: the classic one
    version INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    reported TEXT, -- JSON; NULL: nothing
    desired TEXT, -- JSON; NULL: nothing
    metadata TEXT NOT NULL, -- JSON: when each key was written
    PRIMARY KEY (product, device, name),
    FOREIGN KEY (product, device) REFERENCES devices (product, device) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Products whose devices may register themselves, with the secret that they share for it. No row: none ever might.
CREATE TABLE registrations (
    product TEXT PRIMARY KEY REFERENCES products (id) ON DELETE CASCADE,
    mode TEXT NOT NULL, -- off, existing or any
    credential TEXT NOT NULL, -- key or certificate
    device_limit INTEGER NOT NULL, -- devices that registration may make
    registered INTEGER NOT NULL, -- devices that it made and that are there
    secret BLOB NOT NULL -- sealed
) STRICT, WITHOUT ROWID;

-- When a device connected for the first time: from then on it cannot register. Those that did before this was kept get it
-- when they connect again.
ALTER TABLE devices ADD COLUMN activated_at INTEGER;
-- Whether registration made it.
ALTER TABLE devices ADD COLUMN registered INTEGER NOT NULL DEFAULT 0;

CREATE TRIGGER registered_device_deleted AFTER DELETE ON devices WHEN OLD.registered BEGIN
    UPDATE registrations SET registered = registered - 1 WHERE product = OLD.product;
END;

-- Messages that every device of a product gets, and how far each has come.
CREATE TABLE broadcasts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    product TEXT NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    publisher TEXT NOT NULL,
    qos INTEGER NOT NULL,
    payload BLOB NOT NULL,
    state TEXT NOT NULL, -- running, done or cancelled
    total INTEGER NOT NULL, -- devices when it began
    published INTEGER NOT NULL,
    position TEXT NOT NULL, -- the last device that has it; empty: none
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT;
CREATE INDEX broadcasts_by_product ON broadcasts (product, id);
CREATE UNIQUE INDEX broadcasts_running ON broadcasts (product) WHERE ended_at IS NULL;

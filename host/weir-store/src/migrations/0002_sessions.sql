-- What Delivery makes of the log, as it was after every record below the cursor "delivery". Records at or after it are
-- read again at the start.

CREATE TABLE sessions (
    key TEXT PRIMARY KEY,
    client_id TEXT NOT NULL,
    expiry INTEGER NOT NULL, -- seconds that the session is kept without a connection
    offline_since INTEGER, -- NULL: it was connected
    connection INTEGER NOT NULL, -- the connection that opened it last
    subscriptions TEXT NOT NULL, -- JSON
    received TEXT NOT NULL, -- JSON: packet identifiers of QoS 2 messages that the client has not released
    next INTEGER NOT NULL, -- the number of the next message at QoS 1 or 2
    done INTEGER NOT NULL, -- every message below this number is done; may be newer than the rest of the row
    ledger TEXT NOT NULL, -- JSON
    inbox BLOB NOT NULL
) STRICT;

-- Queues that the members of a shared subscription draw from.
CREATE TABLE shared_queues (
    filter TEXT PRIMARY KEY,
    next INTEGER NOT NULL,
    done INTEGER NOT NULL,
    inbox BLOB NOT NULL
) STRICT;

CREATE TABLE retained (
    topic TEXT PRIMARY KEY,
    offset INTEGER NOT NULL,
    message BLOB NOT NULL
) STRICT;

-- Messages of inboxes that the log holds no more, or that lie in it under another name (retained ones).
CREATE TABLE kept_messages (
    owner TEXT NOT NULL, -- a session's key or a shared queue's filter
    number INTEGER NOT NULL,
    message BLOB NOT NULL,
    PRIMARY KEY (owner, number)
) STRICT;

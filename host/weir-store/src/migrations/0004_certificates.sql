-- Fingerprints are SHA-256 of a certificate's DER; an anchor is that of an authority's name and key. None is a secret.

CREATE TABLE authorities (
    product TEXT NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    fingerprint BLOB NOT NULL,
    anchor BLOB NOT NULL,
    certificate BLOB NOT NULL, -- DER
    subject TEXT NOT NULL,
    proved INTEGER NOT NULL, -- 0: an administrator answers for it
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (product, fingerprint)
) STRICT, WITHOUT ROWID;

-- One row: how often the table above changed, so that whoever holds its content knows when to read it again.
CREATE TABLE authority_changes (
    number INTEGER NOT NULL
) STRICT;
INSERT INTO authority_changes (number) VALUES (0);
CREATE TRIGGER authority_added AFTER INSERT ON authorities BEGIN
    UPDATE authority_changes SET number = number + 1;
END;
CREATE TRIGGER authority_removed AFTER DELETE ON authorities BEGIN
    UPDATE authority_changes SET number = number + 1;
END;

-- What the hub's own authority issued. A row outlives its device, so that a device of the same name does not inherit.
CREATE TABLE certificates (
    fingerprint BLOB PRIMARY KEY,
    serial BLOB NOT NULL,
    product TEXT NOT NULL,
    device TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX certificates_by_device ON certificates (product, device);
CREATE INDEX certificates_by_serial ON certificates (serial);
CREATE INDEX certificates_by_expiry ON certificates (expires_at);

CREATE TABLE pins (
    fingerprint BLOB PRIMARY KEY,
    product TEXT NOT NULL,
    device TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    FOREIGN KEY (product, device) REFERENCES devices (product, device) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX pins_by_device ON pins (product, device);

CREATE TABLE revocations (
    fingerprint BLOB PRIMARY KEY,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

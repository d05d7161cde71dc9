-- What the devices of a product are, and which devices are bound to which gateway.

ALTER TABLE products ADD COLUMN type TEXT NOT NULL DEFAULT 'device';

CREATE TABLE bindings (
    product TEXT NOT NULL,
    device TEXT NOT NULL, -- one gateway for each
    gateway_product TEXT NOT NULL,
    gateway_device TEXT NOT NULL,
    bound_at INTEGER NOT NULL,
    PRIMARY KEY (product, device),
    FOREIGN KEY (product, device) REFERENCES devices (product, device) ON DELETE CASCADE,
    FOREIGN KEY (gateway_product, gateway_device) REFERENCES devices (product, device) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX bindings_by_gateway ON bindings (gateway_product, gateway_device, product, device);

-- Signatures by which devices were bound, for as long as they could be shown again.
CREATE TABLE bind_signatures (
    product TEXT NOT NULL,
    device TEXT NOT NULL,
    random INTEGER NOT NULL,
    timestamp INTEGER NOT NULL, -- seconds
    PRIMARY KEY (product, device, timestamp, random),
    FOREIGN KEY (product, device) REFERENCES devices (product, device) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

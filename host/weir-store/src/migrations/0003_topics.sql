-- Classes of topics that a product has beside the defaults, and whether its devices may connect.

CREATE TABLE topics (
    product TEXT NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    suffix TEXT NOT NULL,
    publish INTEGER NOT NULL,
    subscribe INTEGER NOT NULL,
    PRIMARY KEY (product, suffix)
) STRICT, WITHOUT ROWID;

ALTER TABLE products ADD COLUMN enabled INTEGER NOT NULL DEFAULT 1;

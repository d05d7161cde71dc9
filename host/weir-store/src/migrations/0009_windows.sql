-- How far the windows of each rule have come, and what was open there. The state is the rule engine's own format.

CREATE TABLE rule_windows (
    rule TEXT PRIMARY KEY REFERENCES rules (name) ON DELETE CASCADE,
    position INTEGER NOT NULL, -- one past the last record that they have taken
    durable INTEGER NOT NULL, -- up to where the log was durable then: rows of later windows lie behind
    state BLOB -- NULL: nothing was open yet
) STRICT;

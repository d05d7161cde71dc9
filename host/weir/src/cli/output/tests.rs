use serde_json::json;

use super::*;

#[test]
fn a_table_has_no_lines_and_no_trailing_spaces() {
    let list = json!({"items": [
        {"id": "A1B2C3D4E5", "name": null, "created_at": 1_700_000_000_123_i64},
        {"id": "B", "name": "pumps", "created_at": 0},
    ], "total": 2});
    let columns: [Column; 3] =
        [("ID", |p| text(p, "id")), ("NAME", |p| text(p, "name")), ("CREATED", |p| time(p, "created_at"))];
    assert_eq!(
        table(items(&list), &columns),
        "ID          NAME   CREATED\n\
         A1B2C3D4E5         2023-11-14T22:13:20Z\n\
         B           pumps  1970-01-01T00:00:00Z"
    );
}

#[test]
fn fields_are_aligned_and_nested_things_indented() {
    let thing = json!({
        "name": "overheat",
        "enabled": true,
        "created_at": 0,
        "text": "CREATE RULE overheat\nAS SELECT 1",
        "sources": ["a/+", "b"],
        "on_error": null,
        "actions": [{"target": "webhook", "lag_ms": 5}, {"target": "x", "lag_ms": 0}],
        "session": {"client_id": "c"},
    });
    assert_eq!(
        fields(&thing),
        "name:        overheat\n\
         enabled:     yes\n\
         created at:  1970-01-01T00:00:00Z\n\
         text:        CREATE RULE overheat\n             AS SELECT 1\n\
         sources:     a/+, b\n\
         on error:    -\n\
         actions:\n  target:  webhook\n  lag ms:  5\n\n  target:  x\n  lag ms:  0\n\
         session:\n  client id:  c\n"
    );
}

#[test]
fn times_beyond_the_calendar_are_shown_as_they_are() {
    assert_eq!(utc(i64::MAX), i64::MAX.to_string());
    assert_eq!(utc(-1), "1970-01-01T00:00:00Z");
}

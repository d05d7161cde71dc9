//! Opening: keys, versions, damage, secrecy.

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use rusqlite::Connection;

use super::*;
use crate::{OpenError, Role};

fn refused(folder: &Path) -> OpenError {
    Store::open(folder).unwrap_err()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn what_was_answered_is_there_after_opening_again() {
    let (folder, store) = fresh();
    with_product(&store).await;
    let made = store.create_device(&device("a"), None, NOW).await.unwrap();
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.device(&device("a")).unwrap(), Some(made));
}

#[tokio::test]
async fn a_closed_store_is_one_file_and_refuses_writes() {
    let (folder, store) = fresh();
    with_product(&store).await;
    store.close().await;
    assert_eq!(store.delete_product(&product()).await, Err(crate::StoreError::Closed));
    assert!(store.product(&product()).unwrap().is_some());
    assert_eq!(fs::metadata(folder.path().join("store.sqlite-wal")).map_or(0, |file| file.len()), 0);
    store.close().await;
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let (folder, store) = fresh();
    drop(store);
    let path = folder.path().join("store.sqlite");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = refused(folder.path());
    assert!(matches!(error, OpenError::Newer { found: 99, known: 10, .. }));
    assert_eq!(
        error.to_string(),
        format!(
            "{} has format version 99 and this program knows versions up to 10: run the newer program again, \
             or restore a backup made before it",
            path.display()
        )
    );
}

#[test]
fn a_first_opening_that_was_cut_short_is_taken_up() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("store.sqlite"), "").unwrap();
    fs::write(folder.path().join("secret.key.new"), "half").unwrap();
    drop(Store::open(folder.path()).unwrap());
    drop(Store::open(folder.path()).unwrap());
}

#[test]
fn garbage_gives_one_error_with_the_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    fs::write(&path, vec![b'x'; 10_000]).unwrap();
    assert_eq!(
        refused(folder.path()).to_string(),
        format!(
            "{} is damaged (file is not a database): restore it from a backup, or move it away to start with an \
             empty store",
            path.display()
        )
    );
}

#[tokio::test]
async fn a_damaged_page_is_found_when_opening() {
    let (folder, store) = fresh();
    with_product(&store).await;
    for number in 0..200 {
        store.create_device(&device(&format!("device-{number}")), None, NOW).await.unwrap();
    }
    store.close().await;
    drop(store);
    let path = folder.path().join("store.sqlite");
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::End(-2 * 4096)).unwrap();
    file.write_all(&[0xff; 2 * 4096]).unwrap();
    assert!(matches!(refused(folder.path()), OpenError::Damaged { .. }));
}

#[test]
fn a_database_of_another_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let other = Connection::open(folder.path().join("store.sqlite")).unwrap();
    other.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(other);
    let error = refused(folder.path());
    assert!(error.to_string().contains("is damaged (it is a database of another program)"), "{error}");
}

#[test]
fn a_missing_folder_is_an_error_of_the_file() {
    let error = refused(Path::new("/nonexistent/weir"));
    assert!(matches!(error, OpenError::File { .. }));
    assert!(error.to_string().starts_with("cannot use /nonexistent/weir/store.sqlite: "), "{error}");
}

#[test]
fn files_are_for_their_owner_alone() {
    let (folder, _store) = fresh();
    for name in ["secret.key", "store.sqlite", "store.sqlite-wal"] {
        assert_eq!(mode(&folder.path().join(name)), 0o600, "{name}");
    }
    assert_eq!(fs::read(folder.path().join("secret.key")).unwrap().len(), 32);
}

#[test]
fn a_key_file_that_others_may_read_is_refused() {
    let (folder, store) = fresh();
    drop(store);
    let path = folder.path().join("secret.key");
    for exposed in [0o640, 0o604, 0o660] {
        fs::set_permissions(&path, fs::Permissions::from_mode(exposed)).unwrap();
        let error = refused(folder.path());
        assert!(error.to_string().contains(&format!("(mode {exposed:o}): run `chmod 600")), "{error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    Store::open(folder.path()).unwrap();
}

#[test]
fn a_lost_or_foreign_key_file_is_refused() {
    let (folder, store) = fresh();
    drop(store);
    let path = folder.path().join("secret.key");
    for foreign in [&[7; 32][..], &[7; 31], &[7; 33]] {
        fs::write(&path, foreign).unwrap();
        assert!(matches!(refused(folder.path()), OpenError::KeyLost { .. }));
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(refused(folder.path()), OpenError::KeyLost { .. }));
    assert!(!path.exists(), "no new key may take the place of the lost one");
}

#[tokio::test]
async fn no_secret_is_in_the_files_in_the_clear() {
    let (folder, store) = fresh();
    with_product(&store).await;
    let psk = b"a-device-key-in-clear".to_vec();
    store.create_device(&device("a"), Some(psk.clone()), NOW).await.unwrap();
    let (_, token) = store.create_token(&device("a"), None, NOW).await.unwrap();
    let secret = store.create_key(&key("app"), Role::Administrator, NOW).await.unwrap();
    store.put_secret(&"hot".parse().unwrap(), b"a-secret-in-clear", NOW).await.unwrap();
    let hidden = [psk, token.into_bytes(), secret.into_bytes(), b"a-secret-in-clear".to_vec()];
    let search = || {
        for file in fs::read_dir(folder.path()).unwrap() {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            for secret in &hidden {
                assert!(!bytes.windows(secret.len()).any(|window| window == secret));
            }
        }
    };
    search();
    store.close().await;
    search();
}

#[tokio::test]
async fn a_sealed_value_under_another_name_does_not_open() {
    let (_folder, store) = fresh();
    store.put_secret(&"one".parse().unwrap(), b"1", NOW).await.unwrap();
    let swap = |connection: &Connection| Ok(connection.execute("UPDATE secrets SET name = 'two'", [])?);
    store.write(swap).await.unwrap();
    let error = store.secret(&"two".parse().unwrap()).unwrap_err();
    assert!(matches!(error, crate::StoreError::Damaged(_)), "{error}");
}

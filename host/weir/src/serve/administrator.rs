//! The administrator's key: made at the first start, kept in `admin.key` for commands on the same machine.
//!
//! The file is what counts. Whoever can write the data folder can make a new key by removing it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use weir_core::KeyName;
use weir_log::Clock;
use weir_store::{Role, Store};

use super::start_error::StartError;
use crate::data::DataFolder;

const NAME: &str = "admin";

/// Makes the key that the file holds one of the store, and both anew if there is no file.
pub(super) async fn ensure(data: &DataFolder, store: &Store, clock: &Clock) -> Result<(), StartError> {
    let (name, secret) = match data.admin_key()? {
        Some(key) => match key.split_once(':') {
            Some((name, secret)) => (name.to_owned(), secret.to_owned()),
            None => return Err(not_valid(data, "it must hold admin:SECRET")),
        },
        None => {
            let secret = secret()?;
            // The file goes first: a crash between leaves a key that the next start takes over.
            data.write_admin_key(&format!("{NAME}:{secret}"))?;
            (NAME.to_owned(), secret)
        }
    };
    let name: KeyName = name.parse().map_err(|error| not_valid(data, error))?;
    if store.check_key(&name, &secret).map_err(StartError::Administrator)? == Some(Role::Administrator) {
        return Ok(());
    }
    store.import_key(&name, Role::Administrator, &secret, clock.now()).await.map_err(StartError::Administrator)
}

fn secret() -> Result<String, StartError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(StartError::Randomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn not_valid(data: &DataFolder, reason: impl ToString) -> StartError {
    StartError::KeyFile { path: data.admin_key_file(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_key_survives_restarts_and_is_renewed_when_its_file_is_removed() {
        let temporary = tempfile::tempdir().unwrap();
        let data = DataFolder::new(temporary.path());
        let (store, clock) = (Store::open(data.path()).unwrap(), Clock::system());
        let role = |key: &str| {
            let (name, secret) = key.split_once(':').unwrap();
            store.check_key(&name.parse().unwrap(), secret).unwrap()
        };

        ensure(&data, &store, &clock).await.unwrap();
        let first = data.admin_key().unwrap().unwrap();
        assert_eq!(role(&first), Some(Role::Administrator));
        ensure(&data, &store, &clock).await.unwrap();
        assert_eq!(data.admin_key().unwrap().unwrap(), first);

        std::fs::remove_file(data.admin_key_file()).unwrap();
        ensure(&data, &store, &clock).await.unwrap();
        let second = data.admin_key().unwrap().unwrap();
        assert_ne!(second, first);
        assert_eq!((role(&first), role(&second)), (None, Some(Role::Administrator)));
        store.close().await;
    }
}

//! `weir create certificate`: a device's certificate and its private key, which the hub does not keep. And taking it back.

use std::{
    fs::OpenOptions,
    future::Future,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use weir_core::DeviceId;

use super::{
    failure::Failure,
    hub::Hub,
    output::{Output, text, utc},
};

/// Where a certificate goes, and how long it is good.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CertificateArgs {
    /// Write PREFIX.pem and PREFIX.key instead of printing both
    #[arg(long, value_name = "PREFIX")]
    out: Option<PathBuf>,
    /// How long the certificate is good for, such as "1 year" [default: ten years]
    #[arg(long, value_name = "TIME", value_parser = crate::config::parse_duration)]
    valid_for: Option<Duration>,
}

impl CertificateArgs {
    pub(crate) fn to(out: Option<PathBuf>) -> Self {
        Self { out, valid_for: None }
    }
}

/// Makes a certificate, and prints it or writes it to files. `first` is done before, such as making the device.
pub(crate) async fn create(
    device: &DeviceId,
    args: &CertificateArgs,
    first: impl Future<Output = Result<(), Failure>>,
    hub: &Hub,
    out: Output,
) -> Result<(), Failure> {
    // Files that are there are found before the hub makes what nobody could read.
    let files = args.out.as_deref().map(Files::create).transpose()?;
    let issued = async {
        first.await?;
        issue(device, args.valid_for, hub).await
    };
    let issued = match issued.await {
        Ok(issued) => issued,
        Err(failure) => {
            if let Some(files) = files {
                files.remove();
            }
            return Err(failure);
        }
    };
    let (certificate, key) = (text(&issued, "certificate"), text(&issued, "private_key"));
    let Some(files) = files else {
        return if out.is_json() { out.json(&issued) } else { out.line(format!("{certificate}{key}").trim_end()) };
    };
    let (certificate_file, key_file) = files.write(&certificate, &key)?;
    let answer = json!({
        "certificate_file": certificate_file, "private_key_file": key_file, "fingerprint": issued.get("fingerprint"),
        "serial": issued.get("serial"), "expires_at": issued.get("expires_at"),
    });
    let expires = issued.get("expires_at").and_then(Value::as_i64).map(utc).unwrap_or_default();
    let words = format!(
        "certificate  {certificate_file}\n\
         private key  {key_file} (the hub keeps no copy)\n\
         expires      {expires}\n\
         next: weir get ca > ca.pem; mosquitto_pub --cafile ca.pem --cert {certificate_file} --key {key_file} …"
    );
    out.done(&answer, &words)
}

/// Revokes certificates, each named by its fingerprint or, if the hub issued it, by its serial number.
pub(crate) async fn revoke(names: &[String], hub: &Hub, out: Output) -> Result<(), Failure> {
    for name in names {
        let see = "weir get certificates PRODUCT; one that the hub did not issue has a fingerprint only";
        let answer = hub.delete(&["certificates", name]).await.map_err(|failure| failure.see(see))?;
        out.done(&answer, &format!("certificate {} revoked", text(&answer, "revoked")))?;
    }
    Ok(())
}

async fn issue(device: &DeviceId, life: Option<Duration>, hub: &Hub) -> Result<Value, Failure> {
    let body = match life {
        // A part of a second is still time to live.
        Some(life) => json!({"expires_in": life.as_millis().div_ceil(1_000) as u64}),
        None => json!({}),
    };
    let path = ["products", device.product.as_str(), "devices", device.device.as_str(), "certificates"];
    hub.post(&path, &body).await.map_err(|failure| {
        failure.see(&format!(
            "weir get devices {0}\nor make it: weir create device {0} {1}",
            device.product, device.device
        ))
    })
}

/// Two new files, empty. One that is there already may be the only copy of a key.
struct Files {
    certificate: (PathBuf, std::fs::File),
    key: (PathBuf, std::fs::File),
}

impl Files {
    fn create(prefix: &Path) -> Result<Self, Failure> {
        let open = |ending: &str, mode: u32| {
            let mut path = prefix.as_os_str().to_owned();
            path.push(ending);
            let path = PathBuf::from(path);
            match OpenOptions::new().write(true).create_new(true).mode(mode).open(&path) {
                Ok(file) => Ok((path, file)),
                Err(error) => Err(failed(&path, &error)),
            }
        };
        let certificate = open(".pem", 0o644)?;
        match open(".key", 0o600) {
            Ok(key) => Ok(Self { certificate, key }),
            Err(failure) => {
                // It is empty, and was made here.
                let _removed = std::fs::remove_file(&certificate.0);
                Err(failure)
            }
        }
    }

    fn write(mut self, certificate: &str, key: &str) -> Result<(String, String), Failure> {
        for ((path, file), content) in [(&mut self.certificate, certificate), (&mut self.key, key)] {
            file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| failed(path, &error))?;
        }
        Ok((self.certificate.0.display().to_string(), self.key.0.display().to_string()))
    }

    fn remove(self) {
        for path in [self.certificate.0, self.key.0] {
            // They are empty, and were made here.
            let _removed = std::fs::remove_file(path);
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    let failure = Failure::refused(format!("cannot write {}: {error}", path.display()));
    match error.kind() {
        io::ErrorKind::AlreadyExists => failure.hint("choose another --out PREFIX"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_key_is_for_its_owner_only_and_nothing_is_overwritten() {
        let temporary = tempfile::tempdir().unwrap();
        let prefix = temporary.path().join("dev");
        let (certificate, key) = Files::create(&prefix).unwrap().write("c", "k").unwrap();
        assert!(certificate.ends_with("dev.pem") && key.ends_with("dev.key"));
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Files::create(&prefix), Err(Failure::Refused { .. })));
        fs::remove_file(&certificate).unwrap();
        assert!(Files::create(&prefix).is_err());
        assert_eq!(fs::read_to_string(&key).unwrap(), "k");
        assert!(!fs::exists(&certificate).unwrap());
    }
}

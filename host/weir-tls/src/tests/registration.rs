//! Registering authorities made by OpenSSL's command line.

use std::{fs, path::Path};

use weir_core::{Classify, ErrorKind, ProductId, Timestamp};

use super::hub::{made, now};
use crate::{Authority, Certificate, RegistrationError, RegistrationProof, check_registration, registration_code};

const NEW_KEY: &str = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

struct Desk {
    folder: tempfile::TempDir,
    hub: Authority,
    product: ProductId,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hub = Authority::open(&folder.path().join("tls"), now()).unwrap();
        Self { folder, hub, product: "A1B2C3D4E5".parse().unwrap() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path().join(name)).unwrap()
    }

    async fn openssl(&self, arguments: &str) {
        made(self.path(), arguments).await;
    }

    fn check(&self, certificate: &str, proof: RegistrationProof<'_>) -> Result<Certificate, RegistrationError> {
        self.check_at(certificate, proof, now())
    }

    fn check_at(
        &self,
        certificate: &str,
        proof: RegistrationProof<'_>,
        now: Timestamp,
    ) -> Result<Certificate, RegistrationError> {
        let checked = check_registration(self.hub.certificate(), &self.product, &self.read(certificate), proof, now);
        if let Err(error) = &checked {
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
        checked
    }

    /// Runs the commands of a message, split at `; `, as a shell would.
    async fn follow(&self, commands: &str) {
        let script = commands.to_owned();
        let status =
            std::process::Command::new("sh").args(["-euc", &script]).current_dir(self.path()).output().unwrap();
        assert!(status.status.success(), "{commands}: {}", String::from_utf8_lossy(&status.stderr));
    }
}

#[tokio::test]
async fn the_key_is_proved_by_the_commands_of_the_message() {
    let desk = Desk::new();
    desk.openssl(&format!("{NEW_KEY} -x509 -days 30 -subj /CN=Plant -keyout ca.key -out ca.pem")).await;
    let missing = desk.check("ca.pem", RegistrationProof::None).unwrap_err();
    assert!(matches!(missing, RegistrationError::ProofMissing { .. }));
    let message = missing.to_string();
    let commands = message.split_once("as with: ").unwrap().1.split_once("; and send").unwrap().0;
    desk.follow(commands).await;
    let proof = desk.read("proof.pem");
    let checked = desk.check("ca.pem", RegistrationProof::Signed(&proof)).unwrap();
    assert_eq!(checked.subject(), "CN=Plant");
    assert!(desk.check("ca.pem", RegistrationProof::Trusted).is_ok());

    // The proof is for this product only, and of this key only.
    let other: ProductId = "BBBBBBBBBB".parse().unwrap();
    assert_ne!(
        registration_code(desk.hub.certificate(), &other),
        registration_code(desk.hub.certificate(), &desk.product)
    );
    let signed = RegistrationProof::Signed(&proof);
    let elsewhere = check_registration(desk.hub.certificate(), &other, &desk.read("ca.pem"), signed, now());
    assert!(matches!(elsewhere, Err(RegistrationError::ProofOfAnother { .. })));
    desk.openssl(&format!("{NEW_KEY} -x509 -days 30 -subj /CN=Plant -keyout twin.key -out twin.pem")).await;
    assert!(matches!(desk.check("twin.pem", signed), Err(RegistrationError::ProofNotSigned { .. })));
    assert!(matches!(
        desk.check("ca.pem", RegistrationProof::Signed(b"nonsense")),
        Err(RegistrationError::ProofUnreadable)
    ));
}

#[tokio::test]
async fn only_what_may_sign_and_can_be_verified_is_an_authority() {
    let desk = Desk::new();
    let trusted = RegistrationProof::Trusted;
    desk.openssl(&format!("{NEW_KEY} -x509 -subj /CN=x -keyout x.key -out leaf.pem -addext basicConstraints=CA:FALSE"))
        .await;
    let leaf = desk.check("leaf.pem", trusted).unwrap_err();
    assert!(leaf.to_string().contains("basicConstraints=CA:TRUE"), "{leaf}");

    let usage = "-addext keyUsage=digitalSignature";
    desk.openssl(&format!("{NEW_KEY} -x509 -subj /CN=x -keyout x.key -out usage.pem {usage}")).await;
    assert!(matches!(desk.check("usage.pem", trusted), Err(RegistrationError::MayNotSign { .. })));
    let usage = "-addext keyUsage=critical,keyCertSign";
    desk.openssl(&format!("{NEW_KEY} -x509 -days 30 -subj /CN=x -keyout x.key -out good.pem {usage}")).await;
    desk.check("good.pem", trusted).unwrap();
    let later = Timestamp(now().0 + 31 * 86_400_000);
    assert!(matches!(desk.check_at("good.pem", trusted, later), Err(RegistrationError::Expired { .. })));

    desk.openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-521 -nodes -subj /CN=x -keyout x.key -out p521.pem",
    )
    .await;
    assert!(matches!(desk.check("p521.pem", trusted), Err(RegistrationError::Key { .. })));
    fs::write(desk.path().join("hub.pem"), desk.hub.certificate().to_pem()).unwrap();
    assert!(matches!(desk.check("hub.pem", trusted), Err(RegistrationError::Hubs)));
    fs::write(desk.path().join("none.pem"), "nothing").unwrap();
    assert!(matches!(desk.check("none.pem", trusted), Err(RegistrationError::Certificate(_))));
}

#[tokio::test]
async fn an_authority_of_version_1_is_refused_with_what_to_do_and_what_to_do_works() {
    let desk = Desk::new();
    desk.openssl(&format!("{NEW_KEY} -subj /CN=Old -keyout ca.key -out ca.csr")).await;
    desk.openssl("x509 -req -in ca.csr -signkey ca.key -days 30 -out ca.pem").await;
    let error = desk.check("ca.pem", RegistrationProof::Trusted).unwrap_err();
    assert!(matches!(error, RegistrationError::Version { version: 1 }), "{error}");
    let message = error.to_string();
    desk.follow(message.split_once("as with: ").unwrap().1).await;
    let checked = desk.check("ca-v3.pem", RegistrationProof::Trusted).unwrap();
    assert_eq!(checked.subject(), "CN=Old");
}

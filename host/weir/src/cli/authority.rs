//! `weir create authority`: an authority of one's own, whose signature lets devices of a product in.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::json;
use weir_core::ProductId;

use super::{
    failure::Failure,
    hub::Hub,
    output::{Output, text},
};

/// Bytes of a file that holds a certificate.
const MAX_FILE: u64 = 256 * 1024;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AuthorityArgs {
    product: ProductId,
    /// The authority's certificate, in PEM
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// A certificate that it signed, whose common name is the code that the hub says if this is left out
    #[arg(long, value_name = "FILE", conflicts_with = "trusted")]
    proof: Option<PathBuf>,
    /// Do without the proof: you answer for it that nobody else has the authority's key
    #[arg(long)]
    trusted: bool,
}

pub(crate) async fn create(args: &AuthorityArgs, hub: &Hub, out: Output) -> Result<(), Failure> {
    let AuthorityArgs { product, certificate, proof, trusted } = args;
    let certificate = read_pem(certificate)?;
    let proof = proof.as_deref().map(read_pem).transpose()?;
    let body = json!({"certificate": certificate, "proof": proof, "trusted": trusted});
    let made = hub
        .post(&["products", product.as_str(), "authorities"], &body)
        .await
        .map_err(|failure| failure.see("weir get products"))?;
    let words = format!(
        "authority {} of product {product} registered\n\
         fingerprint  {}\n\
         next: a device comes with a certificate that it signed, whose common name is the device's",
        text(&made, "subject"),
        text(&made, "fingerprint")
    );
    out.done(&made, &words)
}

/// A file that should hold a certificate.
pub(crate) fn read_pem(path: &Path) -> Result<String, Failure> {
    let failed = |reason: String| Failure::refused(format!("cannot read {}: {reason}", path.display()));
    let mut content = String::new();
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    match file.take(MAX_FILE + 1).read_to_string(&mut content) {
        Ok(_) if content.len() as u64 > MAX_FILE => Err(failed(format!("it is longer than {MAX_FILE} bytes"))),
        Ok(_) if content.contains("PRIVATE KEY") => {
            Err(failed("it holds a private key, which the hub must not see; give the certificate alone".to_owned()))
        }
        Ok(_) => Ok(content),
        Err(_) => Err(failed("it is no certificate in PEM".to_owned())
            .hint("if it is DER: openssl x509 -inform der -in FILE -out FILE.pem")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_never_leaves_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pem");
        let read = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            read_pem(&path)
        };
        assert_eq!(read(b"a certificate").unwrap(), "a certificate");
        for wrong in [&b"-----BEGIN EC PRIVATE KEY-----"[..], b"\xff\xfe", &vec![b'x'; MAX_FILE as usize + 1]] {
            assert!(matches!(read(wrong), Err(Failure::Refused { .. })));
        }
        assert!(read_pem(&folder.path().join("none")).is_err());
    }
}

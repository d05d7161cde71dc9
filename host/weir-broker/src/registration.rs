//! Dynamic registration (vendor protocol §4): a device that knows its product's secret alone is given a key of its own.
//!
//! Whoever asks proves that it knows the secret by a signature over the request. Until then it learns nothing, not even
//! whether there is such a product. What it is given travels encrypted with the same secret, so a request that is heard
//! and sent again gives its sender nothing, and needs no time in it that the hub would believe: the clock of a new device
//! is seldom right.
//!
//! Absent: how a request is written and its answer encrypted.

use std::fmt;

use parking_lot::Mutex;
use tokio::time::Instant;
use weir_core::{Classify, DeviceId, ErrorKind};
use weir_store::{Device, Registration, RegistrationCredential, RegistrationMode, StoreError};

use crate::{Broker, Bucket, Rate, SigningMethod};

/// A request of a device that has no key yet.
#[derive(Debug, Clone)]
pub struct SignedRegistration {
    pub device: DeviceId,
    /// What it is to get; `None`: what its product says.
    pub credential: Option<RegistrationCredential>,
    pub method: SigningMethod,
    /// What may have been signed: clients differ in the host name that they take themselves to speak to.
    pub texts: Vec<String>,
    pub signature: Vec<u8>,
}

/// A device that may have what it asked for.
#[derive(Clone)]
pub struct Registered {
    pub device: Device,
    pub credential: RegistrationCredential,
    /// The product's, with which the answer is encrypted.
    pub secret: String,
}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registered")
            .field("device", &self.device)
            .field("credential", &self.credential)
            .field("secret", &"***")
            .finish()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// One text for products that are unknown, that have no secret, and for wrong signatures.
    #[error("the signature is wrong, or the product does not know this secret")]
    Signature,
    #[error("product {0} lets no device register: see weir set product")]
    Off(String),
    #[error("there is no device \"{0}\", and its product lets only devices register that were made before")]
    NoDevice(DeviceId),
    #[error("{0} is disabled")]
    Disabled(String),
    #[error("device {0} has connected already: it has its key, or an administrator resets it")]
    Activated(DeviceId),
    #[error("too many devices register at once; try again")]
    TooFast,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for RegisterError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Signature => ErrorKind::Unauthenticated,
            Self::Off(_) | Self::Disabled(_) => ErrorKind::Forbidden,
            Self::NoDevice(_) => ErrorKind::NotFound,
            Self::Activated(_) => ErrorKind::Conflict,
            Self::TooFast => ErrorKind::Throttled,
            Self::Store(error) => error.kind(),
        }
    }
}

/// How fast devices register, all together. Guards one number for as long as it takes to look at it.
#[derive(Debug)]
pub(crate) struct Registrar {
    rate: Option<Rate>,
    taken: Mutex<Bucket>,
}

impl Registrar {
    pub(crate) fn new(rate: Option<Rate>) -> Self {
        Self { rate, taken: Mutex::default() }
    }

    fn admit(&self) -> Result<(), RegisterError> {
        let Some(rate) = self.rate else { return Ok(()) };
        let mut taken = self.taken.lock();
        *taken = taken.take(rate, 1, Instant::now()).map_err(|_until| RegisterError::TooFast)?;
        Ok(())
    }
}

impl Broker {
    /// Gives a device that has never connected its key, and makes the device if its product lets it. Asked again before
    /// the device connects, it gives the same.
    pub async fn register(&self, request: SignedRegistration) -> Result<Registered, RegisterError> {
        let registered = self.try_register(request).await;
        if let Err(error) = &registered {
            self.metrics().refused("register", error.kind());
        }
        registered
    }

    async fn try_register(&self, request: SignedRegistration) -> Result<Registered, RegisterError> {
        let SignedRegistration { device: id, credential, method, texts, signature } = request;
        let known = self.store().registration(&id.product)?;
        let is_signed =
            |known: &Registration| texts.iter().any(|text| method.verifies(known.secret.as_bytes(), text, &signature));
        let signed = known.filter(is_signed);
        let Registration { mode, credential: usual, secret, .. } = signed.ok_or(RegisterError::Signature)?;
        // Only now, so that nobody without the secret can take the places of those who have it.
        self.registrar().admit()?;
        if mode == RegistrationMode::Off {
            return Err(RegisterError::Off(id.product.to_string()));
        }
        let device = match (self.store().device(&id)?, mode) {
            (Some(device), _) => device,
            (None, RegistrationMode::Any) => match self.store().register_device(&id, self.clock().now()).await {
                // Another request of the same device was faster.
                Err(StoreError::Exists { .. }) => self.store().device(&id)?.ok_or(RegisterError::NoDevice(id))?,
                made => made?,
            },
            (None, _) => return Err(RegisterError::NoDevice(id)),
        };
        if !device.product_enabled {
            return Err(RegisterError::Disabled(format!("product {}", device.id.product)));
        }
        if !device.enabled {
            return Err(RegisterError::Disabled(format!("device {}", device.id)));
        }
        if device.activated_at.is_some() {
            return Err(RegisterError::Activated(device.id));
        }
        Ok(Registered { device, credential: credential.unwrap_or(usual), secret })
    }
}

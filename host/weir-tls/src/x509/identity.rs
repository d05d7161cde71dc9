//! Which device a certificate names. Reads certificates only after somebody vouched for them.

use weir_core::{DeviceId, DeviceName, ProductId, Voucher};

use crate::Certificate;

const SCHEME: &str = "weir:device:";

/// What the hub's authority writes into a device's certificate.
pub(crate) fn device_uri(device: &DeviceId) -> String {
    format!("{SCHEME}{device}")
}

/// Who the certificate is for, and in whose name it is believed. `vouchers` are all that stand behind the authority
/// that signed it: products may share one.
pub(super) fn identify(certificate: &Certificate, vouchers: &[Voucher]) -> Option<(Option<DeviceId>, Voucher)> {
    let products = || vouchers.iter().filter_map(product);
    let first = vouchers.first()?.clone();
    let uris = certificate.uris();
    let named: Vec<&str> = uris.iter().filter_map(|uri| uri.strip_prefix(SCHEME)).collect();
    if !named.is_empty() {
        // Two names are as good as none: nobody may be whom he likes.
        let [name] = named.as_slice() else { return Some((None, first)) };
        let Ok(device) = name.parse::<DeviceId>() else { return Some((None, first)) };
        let voucher = vouchers.iter().find(|voucher| product(voucher).is_none_or(|product| *product == device.product));
        return Some(match voucher {
            Some(voucher) => (Some(device), voucher.clone()),
            None => (None, first),
        });
    }
    let Some(name) = certificate.common_name() else { return Some((None, first)) };
    let qualified = products().find_map(|product| Some((product, qualified_name(product, &name)?)));
    let (product, device) = match qualified {
        Some(found) => found,
        // A name alone says enough only if there is one product that it can belong to.
        None => match (products().collect::<Vec<_>>().as_slice(), name.parse()) {
            ([product], Ok(device)) => (*product, device),
            _ => return Some((None, first)),
        },
    };
    let device = DeviceId { product: product.clone(), device };
    Some((Some(device), Voucher::Product(product.clone())))
}

/// The device in `PRODUCTDEVICE` or `PRODUCT/DEVICE`.
fn qualified_name(product: &ProductId, name: &str) -> Option<DeviceName> {
    let rest = name.strip_prefix(product.as_str())?;
    rest.strip_prefix('/').unwrap_or(rest).parse().ok()
}

/// The product that a voucher is limited to.
fn product(voucher: &Voucher) -> Option<&ProductId> {
    match voucher {
        Voucher::Product(product) => Some(product),
        Voucher::Hub | Voucher::Pin => None,
    }
}

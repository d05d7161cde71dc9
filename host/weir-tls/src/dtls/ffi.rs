//! What of the system's OpenSSL its Rust binding leaves out: the stateless answer to a ClientHello, timers, and buffers.
//!
//! All unsafe code of the hub's encryption is here. Each function takes a reference that the binding made, so the pointer it
//! passes is valid for the call and used by nobody else: `SslRef` is reached through an `SslStream` that is borrowed mutably
//! by whoever calls, as [`super::session`] and [`super::doorstep`] do.
#![expect(unsafe_code, reason = "OpenSSL's functions that the binding does not have")]

use std::{
    os::raw::{c_int, c_long, c_void},
    ptr,
    time::Duration,
};

use foreign_types::ForeignTypeRef;
use openssl::{ssl::SslRef, x509::X509VerifyResult};
use openssl_sys as sys;

/// Opaque, as OpenSSL's own is.
#[repr(C)]
struct BioAddr {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn DTLSv1_listen(ssl: *mut sys::SSL, client: *mut BioAddr) -> c_int;
    fn BIO_ADDR_new() -> *mut BioAddr;
    fn BIO_ADDR_free(address: *mut BioAddr);
    fn SSL_alloc_buffers(ssl: *mut sys::SSL) -> c_int;
    fn SSL_free_buffers(ssl: *mut sys::SSL) -> c_int;
}

const DTLS_CTRL_GET_TIMEOUT: c_int = 73;
const DTLS_CTRL_HANDLE_TIMEOUT: c_int = 74;
const SSL_CTRL_SET_MAX_SEND_FRAGMENT: c_int = 52;

/// What came of a ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listened {
    /// Its cookie was good: the handshake goes on with this one.
    Verified,
    /// It was answered by a HelloVerifyRequest, or was none.
    Again,
    Failed,
}

/// Looks at the ClientHello that the stream below `ssl` has, and answers it by a cookie unless it has one.
pub(super) fn listen(ssl: &SslRef) -> Listened {
    // SAFETY: BIO_ADDR_new gives a valid address or null, which DTLSv1_listen is not given; it is freed once. `ssl` is a
    // server's, valid for the call, and both callbacks for cookies are set, which is all that DTLSv1_listen asks for.
    let listened = unsafe {
        let address = BIO_ADDR_new();
        if address.is_null() {
            return Listened::Failed;
        }
        let listened = DTLSv1_listen(ssl.as_ptr(), address);
        BIO_ADDR_free(address);
        listened
    };
    match listened {
        1.. => Listened::Verified,
        0 => Listened::Again,
        _ => Listened::Failed,
    }
}

/// When the last flight is to be sent again; `None`: it is not.
pub(super) fn timeout(ssl: &SslRef) -> Option<Duration> {
    let mut left = libc::timeval { tv_sec: 0, tv_usec: 0 };
    // SAFETY: the command writes one timeval to where its last argument points, which is one.
    let runs =
        unsafe { sys::SSL_ctrl(ssl.as_ptr(), DTLS_CTRL_GET_TIMEOUT, 0, ptr::from_mut(&mut left).cast::<c_void>()) };
    let seconds = u64::try_from(left.tv_sec).unwrap_or(0);
    let micros = u64::try_from(left.tv_usec).unwrap_or(0);
    (runs == 1).then(|| Duration::from_secs(seconds) + Duration::from_micros(micros))
}

/// Sends the last flight again if its time has come. Says whether the peer is given up.
pub(super) fn handle_timeout(ssl: &SslRef) -> bool {
    // SAFETY: the command takes no arguments.
    unsafe { sys::SSL_ctrl(ssl.as_ptr(), DTLS_CTRL_HANDLE_TIMEOUT, 0, ptr::null_mut()) < 0 }
}

/// Bounds what is sent in one record, and so the buffer for it. Says whether it is so.
pub(super) fn limit_record(ssl: &SslRef, bytes: c_long) -> bool {
    // SAFETY: the command takes a number and no pointer.
    unsafe { sys::SSL_ctrl(ssl.as_ptr(), SSL_CTRL_SET_MAX_SEND_FRAGMENT, bytes, ptr::null_mut()) == 1 }
}

/// An error of verification by its number, which becomes the alert.
pub(super) fn verify_result(number: c_int) -> X509VerifyResult {
    // SAFETY: it only wraps the number, which is one of those in openssl/x509_vfy.h.
    unsafe { X509VerifyResult::from_raw(number) }
}

/// Gives the buffers for records back, unless something is in them. Reading allocates them again; writing does not.
pub(super) fn free_buffers(ssl: &SslRef) {
    // SAFETY: it looks by itself whether the buffers are in use, and then leaves them.
    let _were_free = unsafe { SSL_free_buffers(ssl.as_ptr()) };
}

/// Sees to buffers before something is written. Says whether there are any.
pub(super) fn alloc_buffers(ssl: &SslRef) -> bool {
    // SAFETY: it allocates what is not there, and nothing else.
    unsafe { SSL_alloc_buffers(ssl.as_ptr()) == 1 }
}

//! The cryptography of TLS: aws-lc, which signs our tokens as well, so that only one set of primitives
//! is built and trusted.

/// Names the provider for this process, unless it has one. Must come before the first HTTP client is
/// built, which panics without a provider.
pub fn provide() {
    // The only error says that there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

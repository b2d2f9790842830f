//! TLS towards servers that the operator names: whose certificates are believed, and what is shown
//! there. Its cryptography is aws-lc, which signs our tokens as well, so that only one set of
//! primitives is built and trusted.
//!
//! Must never print what is in a key's file.

use std::{
    error::Error,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

/// A larger file holds no certificates of ours; the roots of a whole system take a quarter of it.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Names the provider for this process, unless it has one. Must come before the first HTTP client is
/// built, which panics without a provider.
pub fn provide() {
    // The only error says that there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

fn provider() -> Arc<CryptoProvider> {
    provide();
    Arc::clone(CryptoProvider::get_default().expect("one was named just now"))
}

/// Whose signature on a server's certificate counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// Those that this machine trusts.
    System,
    /// Those in this file, PEM.
    File(PathBuf),
}

/// How much of a server's certificate is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// Nothing: whoever listens in learns nothing, whoever stands between learns all.
    Nothing,
    /// By whom it is signed, and when it is valid.
    Chain(Roots),
    /// And that it is the certificate of the host that was asked for.
    ChainAndHost(Roots),
}

/// What this process shows to a server that wants a client's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate and those between it and its root, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM, without a passphrase.
    pub key: PathBuf,
}

/// How TLS is spoken to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// How much of its certificate is looked at.
    pub verification: Verification,
    /// What it is shown, if it asks.
    pub identity: Option<Identity>,
}

/// A file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// It is not there, or may not be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{0} holds no certificate that can be read; it must be PEM")]
    NoCertificate(PathBuf),
    /// It holds something else.
    #[error("{0} holds no private key that can be read; it must be PEM, without a passphrase")]
    NoKey(PathBuf),
    /// Others may read it.
    #[error("others may read the key in {path} (mode {mode:04o}); type: chmod 600 {path}")]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Certificate and key do not belong together.
    #[error("the key in {key} does not go with the certificate in {certificate}")]
    NotAPair {
        /// Where the certificate is.
        certificate: PathBuf,
        /// Where the key is.
        key: PathBuf,
        /// What was found wrong.
        source: rustls::Error,
    },
    /// The system trusts nobody.
    #[error(
        "this machine has no root certificates; install what Debian calls ca-certificates, or name \
         a file of them"
    )]
    NoSystemRoots,
    /// The roots cannot be used to verify anything.
    #[error("the root certificates cannot be used")]
    Unusable(#[source] Box<dyn Error + Send + Sync>),
}

impl ClientTls {
    /// Whether its files can be used at present; what to say if not.
    ///
    /// # Errors
    /// The first file that cannot be used, and why.
    pub fn tried(&self) -> Result<(), String> {
        self.client_config().map(drop).map_err(|error| {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("cannot be used: {error}{cause}")
        })
    }

    /// Reads the files, each time anew: a certificate that was renewed counts from the next
    /// connection on.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn client_config(&self) -> Result<ClientConfig, TlsFileError> {
        let provider = provider();
        let verifier: Arc<dyn ServerCertVerifier> = match &self.verification {
            Verification::Nothing => Arc::new(Unverified(Arc::clone(&provider))),
            Verification::Chain(roots) => Arc::new(ChainAlone(verifier(roots, &provider)?)),
            Verification::ChainAndHost(roots) => verifier(roots, &provider)?,
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsFileError::Unusable(error.into()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let Some(identity) = &self.identity else { return Ok(config.with_no_client_auth()) };
        let (certificates, key) = (certificates(&identity.certificate)?, key(&identity.key)?);
        config.with_client_auth_cert(certificates, key).map_err(|source| TlsFileError::NotAPair {
            certificate: identity.certificate.clone(),
            key: identity.key.clone(),
            source,
        })
    }
}

fn verifier(
    roots: &Roots,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TlsFileError> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::System => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(TlsFileError::NoSystemRoots);
            }
        }
        Roots::File(path) => {
            for certificate in certificates(path)? {
                let added = store.add(certificate);
                added.map_err(|_| TlsFileError::NoCertificate(path.clone()))?;
            }
        }
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider))
        .build()
        .map_err(|error| TlsFileError::Unusable(error.into()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let text = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(TlsFileError::NoCertificate(path.into())),
    }
}

/// Under the rule of libpq: nobody but the owner may use it, or root's group where root owns it, as
/// with secrets that are mounted.
fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    let text = read(path)?;
    let key = PrivateKeyDer::from_pem_slice(&text);
    let key = key.map_err(|_| TlsFileError::NoKey(path.into()))?;
    let metadata = fs::metadata(path).map_err(unreadable(path))?;
    let forbidden = if metadata.uid() == 0 { 0o027 } else { 0o077 };
    let mode = metadata.mode() & 0o777;
    if mode & forbidden != 0 {
        return Err(TlsFileError::Exposed { path: path.into(), mode });
    }
    Ok(key)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsFileError> {
    let metadata = fs::metadata(path).map_err(unreadable(path))?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(TlsFileError::NoCertificate(path.into()));
    }
    fs::read(path).map_err(unreadable(path))
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> TlsFileError {
    move |source| TlsFileError::Unreadable { path: path.into(), source }
}

/// Believes every certificate, as `sslmode=require` without a root does.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

/// Does not mind whose certificate it is, as long as it is signed by one of the roots.
#[derive(Debug)]
struct ChainAlone(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for ChainAlone {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The name is looked at last: whatever else is wrong is found before it.
        match self.0.verify_server_cert(certificate, between, host, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The error of TLS that is behind an error, if one is.
pub fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // What an I/O error was made of it does not tell as its source.
        let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match within {
            Some(within) => Some(within as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

/// What is to be done after TLS failed. `roots` and `identity` are the settings that name the roots
/// and the client's certificate.
#[expect(clippy::wildcard_enum_match_arm, reason = "the rest of rustls' errors needs no advice")]
pub fn advice(error: &rustls::Error, roots: &str, identity: &str) -> String {
    match error {
        rustls::Error::InvalidCertificate(invalid) => match invalid {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
                "its certificate is signed by nobody whom {roots} names: name there the file of \
                 the authority that signed it"
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired: renew it there".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet: see whether both clocks are right".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another host: connect by a name that stands in it as a \
                 subjectAltName, or have one made for this name"
                    .to_owned()
            }
            _ => format!(
                "its certificate cannot be verified: it must be one of a server's own, not an \
                 authority's, signed by one whom {roots} names"
            ),
        },
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::HandshakeFailure
            | AlertDescription::NoCertificate,
        ) => format!(
            "it does not take the client's certificate, or misses one: set {identity} to one that is \
             valid and signed by an authority that it trusts"
        ),
        rustls::Error::InvalidMessage(_) => {
            "what answers there speaks no TLS: see whether the port is right".to_owned()
        }
        _ => "TLS failed".to_owned(),
    }
}

//! Trusts a collector that is reached by TLS.

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

use super::settings::Trust;
use crate::args::SettingError;

/// What gRPC trusts.
///
/// # Errors
/// Returns a certificate file that cannot be used.
pub(super) fn tonic_config(trust: &Trust) -> Result<ClientTlsConfig, SettingError> {
    Ok(match trust {
        Trust::PublicRoots => ClientTlsConfig::new().with_webpki_roots(),
        Trust::File(_, _, pem) => {
            roots(trust)?;
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
        }
    })
}

/// A connector for HTTP over TLS only.
///
/// # Errors
/// Returns a certificate file that cannot be used.
pub(super) fn connector(trust: &Trust) -> Result<HttpsConnector<HttpConnector>, SettingError> {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|err| refused(trust, &err.to_string()))?
        .with_root_certificates(roots(trust)?)
        .with_no_client_auth();
    Ok(HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build())
}

fn roots(trust: &Trust) -> Result<RootCertStore, SettingError> {
    let mut store = RootCertStore::empty();
    match trust {
        Trust::PublicRoots => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Trust::File(_, _, pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|err| refused(trust, &err.to_string()))?;
                store.add(certificate).map_err(|err| refused(trust, &err.to_string()))?;
            }
            if store.is_empty() {
                return Err(refused(trust, "the file has no certificate; allowed: a file in PEM format"));
            }
        }
    }
    Ok(store)
}

fn refused(trust: &Trust, why: &str) -> SettingError {
    match trust {
        Trust::PublicRoots => SettingError::new("OTEL_EXPORTER_OTLP_CERTIFICATE", "", why),
        Trust::File(variable, file, _) => SettingError::new(variable, file.as_str(), why),
    }
}

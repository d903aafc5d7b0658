//! Builds the exporter for a collector: gRPC or HTTP, with TLS or without.

use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{
    ExporterBuildError, Protocol as Otlp, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig,
    WithTonicConfig,
};

use super::args::Protocol;
use super::settings::ExportSettings;
#[cfg(feature = "otlp-tls")]
use super::tls;
use crate::args::SettingError;

/// Builds the exporter. A batch is tried once: the queue would overflow during repeated attempts.
///
/// # Errors
/// Returns the setting that the exporter refuses.
pub(super) fn exporter(settings: &ExportSettings) -> Result<SpanExporter, SettingError> {
    match settings.protocol {
        Protocol::Grpc => grpc(settings),
        Protocol::Http => http(settings),
    }
}

fn grpc(settings: &ExportSettings) -> Result<SpanExporter, SettingError> {
    let builder = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&settings.endpoint.url)
        .with_timeout(settings.timeout)
        .with_retry_policy(RetryPolicy::disabled());
    #[cfg(feature = "otlp-tls")]
    if let Some(trust) = &settings.endpoint.trust {
        return builder
            .with_tls_config(tls::tonic_config(trust)?)
            .build()
            .map_err(|err| refused(settings, &err));
    }
    builder.build().map_err(|err| refused(settings, &err))
}

fn http(settings: &ExportSettings) -> Result<SpanExporter, SettingError> {
    let builder = SpanExporter::builder()
        .with_http()
        .with_protocol(Otlp::HttpBinary)
        .with_endpoint(&settings.endpoint.url)
        .with_timeout(settings.timeout)
        .with_retry_policy(RetryPolicy::disabled());
    #[cfg(feature = "otlp-tls")]
    if let Some(trust) = &settings.endpoint.trust {
        let client = HyperClient::new(tls::connector(trust)?, settings.timeout, None);
        return builder.with_http_client(client).build().map_err(|err| refused(settings, &err));
    }
    let client = HyperClient::with_default_connector(settings.timeout, None);
    builder.with_http_client(client).build().map_err(|err| refused(settings, &err))
}

fn refused(settings: &ExportSettings, err: &ExporterBuildError) -> SettingError {
    SettingError::new(settings.endpoint.variable, settings.endpoint.url.as_str(), err.to_string())
}

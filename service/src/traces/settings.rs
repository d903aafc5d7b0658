//! Validates the `OTEL_…` variables ([`TraceArgs`]).

use axum::http::Uri;
use opentelemetry_sdk::trace::Sampler;
use std::collections::BTreeMap;
use std::time::Duration;

use super::args::{ExporterName, Protocol, SamplerName, TraceArgs};
use super::effect::{Use, set_variables, without_effect};
use crate::args::SettingError;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

/// The validated settings of tracing.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// How spans are exported. `None`: tracing is off.
    pub(super) export: Option<ExportSettings>,
    /// The set `OTEL_…` variables that change nothing.
    pub(super) without_effect: Vec<String>,
}

/// How spans are exported.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "only the exporter reads them"))]
pub(super) struct ExportSettings {
    /// The URL of the collector, with the path for HTTP.
    pub(super) endpoint: Endpoint,
    pub(super) protocol: Protocol,
    pub(super) timeout: Duration,
    /// The service's name if it is set, else `None`.
    pub(super) service_name: Option<String>,
    pub(super) default_name: String,
    pub(super) sampler: Sampler,
    pub(super) queue: usize,
    pub(super) batch: usize,
    pub(super) delay: Duration,
}

/// The collector's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// The variable that it comes from.
    pub(super) variable: &'static str,
    /// With the path for HTTP.
    pub(super) url: String,
    /// What a collector is trusted by, if it is reached by TLS.
    pub(super) trust: Option<Trust>,
}

/// What a collector's certificate is trusted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// The public certificate authorities.
    PublicRoots,
    /// The certificates of this PEM file: the variable, the file's name, its contents.
    File(&'static str, String, Vec<u8>),
}

/// The error for a collector in a build without an exporter, or without TLS.
pub(super) fn not_in_build(variable: &'static str, endpoint: &str, feature: &str) -> SettingError {
    let allowed = format!("this build cannot reach it; unset it, or build with `--features {feature}`");
    SettingError::new(variable, endpoint, allowed)
}

impl TraceArgs {
    /// Validates the settings. `default_name` is the service name if none is set.
    ///
    /// # Errors
    /// Returns the first setting that is invalid.
    pub fn checked(&self, default_name: &str) -> Result<TraceSettings, SettingError> {
        let variables = set_variables();
        let export = self.export(default_name)?;
        if export.is_some() {
            uncompressed(&variables)?;
        }
        let used = Use {
            exports: export.is_some(),
            tls: export.as_ref().is_some_and(|export| export.endpoint.trust.is_some()),
            ratio: matches!(self.otel_traces_sampler, Some(SamplerName::Ratio | SamplerName::ParentRatio)),
        };
        Ok(TraceSettings { export, without_effect: without_effect(&variables, used) })
    }

    fn export(&self, default_name: &str) -> Result<Option<ExportSettings>, SettingError> {
        let queue = self.otel_bsp_max_queue_size.unwrap_or(2_048);
        let batch = self.otel_bsp_max_export_batch_size.unwrap_or(queue.min(512));
        if batch > queue {
            let allowed = format!("at most OTEL_BSP_MAX_QUEUE_SIZE, which is {queue}");
            return Err(SettingError::new("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", batch.to_string(), allowed));
        }
        let protocol = self
            .otel_exporter_otlp_traces_protocol
            .or(self.otel_exporter_otlp_protocol)
            .unwrap_or(Protocol::Grpc);
        let Some(endpoint) = self.endpoint(protocol)? else { return Ok(None) };
        if self.otel_sdk_disabled == Some(true) || self.otel_traces_exporter == Some(ExporterName::None) {
            return Ok(None);
        }
        if cfg!(not(feature = "otlp")) {
            return Err(not_in_build(endpoint.variable, &endpoint.url, "otlp"));
        }
        if cfg!(not(feature = "otlp-tls")) && endpoint.trust.is_some() {
            return Err(not_in_build(endpoint.variable, &endpoint.url, "otlp-tls"));
        }
        let timeout =
            self.otel_exporter_otlp_traces_timeout.or(self.otel_exporter_otlp_timeout).unwrap_or(10_000);
        Ok(Some(ExportSettings {
            endpoint,
            protocol,
            timeout: Duration::from_millis(timeout),
            service_name: self.otel_service_name.clone(),
            default_name: default_name.to_owned(),
            sampler: self.sampler(),
            queue: usize::try_from(queue).unwrap_or(usize::MAX),
            batch: usize::try_from(batch).unwrap_or(usize::MAX),
            delay: Duration::from_millis(self.otel_bsp_schedule_delay.unwrap_or(5_000)),
        }))
    }

    fn endpoint(&self, protocol: Protocol) -> Result<Option<Endpoint>, SettingError> {
        let (variable, text) =
            match (&self.otel_exporter_otlp_traces_endpoint, &self.otel_exporter_otlp_endpoint) {
                (Some(own), _) => (TRACES_ENDPOINT, own),
                (None, Some(all)) => (ENDPOINT, all),
                (None, None) => return Ok(None),
            };
        let refused = |allowed: &str| Err(SettingError::new(variable, text.as_str(), allowed));
        let Ok(uri) = text.parse::<Uri>() else { return refused("allowed: http[s]://host:port") };
        let trust = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => Some(self.trust()?),
            _ => return refused("allowed: http[s]://host:port"),
        };
        if uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
            return refused("allowed: http[s]://host:port");
        }
        let url = match protocol {
            Protocol::Grpc if uri.path() != "/" => {
                return refused("allowed: http[s]://host:port, without a path for grpc");
            }
            Protocol::Grpc => text.clone(),
            // By the specification, the path of the signal is appended to the shared endpoint only.
            Protocol::Http if variable == ENDPOINT => format!("{}/v1/traces", text.trim_end_matches('/')),
            Protocol::Http => text.clone(),
        };
        Ok(Some(Endpoint { variable, url, trust }))
    }

    fn trust(&self) -> Result<Trust, SettingError> {
        let (variable, file) =
            match (&self.otel_exporter_otlp_traces_certificate, &self.otel_exporter_otlp_certificate) {
                (Some(own), _) => ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", own),
                (None, Some(all)) => ("OTEL_EXPORTER_OTLP_CERTIFICATE", all),
                (None, None) => return Ok(Trust::PublicRoots),
            };
        match std::fs::read(file) {
            Ok(pem) => Ok(Trust::File(variable, file.clone(), pem)),
            Err(error) => {
                Err(SettingError::new(variable, file.as_str(), format!("the file cannot be read: {error}")))
            }
        }
    }

    fn sampler(&self) -> Sampler {
        let share = Sampler::TraceIdRatioBased(self.otel_traces_sampler_arg.unwrap_or(1.0));
        let or = |root| Sampler::ParentBased(Box::new(root));
        match self.otel_traces_sampler.unwrap_or(SamplerName::ParentAlwaysOn) {
            SamplerName::AlwaysOn => Sampler::AlwaysOn,
            SamplerName::AlwaysOff => Sampler::AlwaysOff,
            SamplerName::Ratio => share,
            SamplerName::ParentAlwaysOn => or(Sampler::AlwaysOn),
            SamplerName::ParentAlwaysOff => or(Sampler::AlwaysOff),
            SamplerName::ParentRatio => or(share),
        }
    }
}

/// The exporter reads these variables itself, and has no compression.
fn uncompressed(variables: &BTreeMap<String, String>) -> Result<(), SettingError> {
    let of_exporter = ["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"];
    match of_exporter.into_iter().find_map(|variable| Some((variable, variables.get(variable)?))) {
        Some((variable, value)) => {
            Err(SettingError::new(variable, value.as_str(), "spans are not compressed; unset it"))
        }
        None => Ok(()),
    }
}

#[cfg(all(test, feature = "otlp"))]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Args {
        #[command(flatten)]
        traces: TraceArgs,
    }

    fn settings(args: &[&str]) -> Result<Option<ExportSettings>, String> {
        let args =
            Args::try_parse_from([&["test"], args].concat()).map_err(|err| crate::args::one_line(&err))?;
        args.traces.checked("api-gateway").map(|settings| settings.export).map_err(|err| err.to_string())
    }

    const COLLECTOR: &str = "--otel-exporter-otlp-endpoint=http://c:4317";

    #[test]
    fn without_a_collector_there_are_none() {
        for args in [
            &[][..],
            &["--otel-exporter-otlp-endpoint", ""],
            &[COLLECTOR, "--otel-sdk-disabled=TRUE"],
            &[COLLECTOR, "--otel-traces-exporter=none"],
        ] {
            assert!(settings(args).unwrap().is_none(), "{args:?}");
        }
        for args in [[COLLECTOR, "--otel-sdk-disabled=1"], [COLLECTOR, "--otel-traces-exporter=otlp"]] {
            assert!(settings(&args).unwrap().is_some(), "{args:?}");
        }
    }

    #[test]
    fn the_defaults_are_the_specifications_and_an_empty_value_is_none() {
        let empty =
            ["--otel-exporter-otlp-protocol=", "--otel-traces-sampler=", "--otel-bsp-max-queue-size="];
        let settings = settings(&[&[COLLECTOR], &empty[..]].concat()).unwrap().unwrap();
        let endpoint = Endpoint { variable: ENDPOINT, url: "http://c:4317".into(), trust: None };
        assert_eq!((settings.endpoint, settings.protocol), (endpoint, Protocol::Grpc));
        assert_eq!((settings.queue, settings.batch, settings.delay.as_secs()), (2_048, 512, 5));
        assert_eq!((settings.service_name, settings.timeout.as_secs()), (None, 10));
        assert!(format!("{:?}", settings.sampler).contains("ParentBased(AlwaysOn"));
    }

    #[test]
    fn over_http_the_shared_endpoint_gets_the_path_and_the_one_for_traces_is_used_as_it_is() {
        for (endpoint, url) in [
            ("--otel-exporter-otlp-endpoint=http://c:4318", "http://c:4318/v1/traces"),
            ("--otel-exporter-otlp-endpoint=http://c:4318/", "http://c:4318/v1/traces"),
            ("--otel-exporter-otlp-traces-endpoint=http://t:1/x", "http://t:1/x"),
        ] {
            let args = [COLLECTOR, endpoint, "--otel-exporter-otlp-traces-protocol=http/protobuf"];
            let args = if endpoint.contains("traces") { &args[..] } else { &args[1..] };
            assert_eq!(settings(args).unwrap().unwrap().endpoint.url, url);
        }
    }

    #[test]
    fn bad_settings_name_variable_value_and_what_is_allowed() {
        for (args, expected) in [
            ("--otel-exporter-otlp-endpoint=c:4317", "http[s]://host:port"),
            ("--otel-exporter-otlp-endpoint=http://c:4317/x", "without a path"),
            ("--otel-exporter-otlp-protocol=http/json", "allowed: grpc, http/protobuf"),
            ("--otel-exporter-otlp-timeout=0", "a whole number from 1 to 600000"),
            ("--otel-traces-exporter=zipkin", "allowed: otlp, none"),
            ("--otel-traces-sampler=sometimes", "parentbased_traceidratio"),
            ("--otel-traces-sampler-arg=2", "a number from 0 to 1"),
            ("--otel-traces-sampler-arg=nan", "a number from 0 to 1"),
            ("--otel-bsp-max-queue-size=0", "a whole number from 1 to 1000000"),
            ("--otel-bsp-max-export-batch-size=3000", "at most OTEL_BSP_MAX_QUEUE_SIZE, which is 2048"),
            ("--otel-bsp-schedule-delay=x", "a whole number"),
        ] {
            let line = settings(&[args]).unwrap_err();
            assert!(line.starts_with("OTEL_") && line.contains(expected) && !line.contains('\n'), "{line}");
        }
        let args = ["--otel-exporter-otlp-endpoint=https://c:4317", "--otel-exporter-otlp-certificate=/none"];
        let line = settings(&args).unwrap_err();
        assert!(
            line.starts_with("OTEL_EXPORTER_OTLP_CERTIFICATE=\"/none\" cannot be used: the file"),
            "{line}"
        );
    }
}

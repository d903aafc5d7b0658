//! Parses the standard `OTEL_…` variables ([`TraceArgs`]) and validates them ([`TraceSettings`]).

use axum::http::Uri;
use opentelemetry_sdk::trace::Sampler;
use std::time::Duration;

use crate::args::SettingError;

/// The settings of tracing, not yet validated.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Traces (OpenTelemetry)")]
pub struct TraceArgs {
    /// The collector, http://host:port; without it there is no tracing [default: none]
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        default_value = "",
        hide_default_value = true,
        value_name = "URL"
    )]
    pub otel_exporter_otlp_endpoint: String,
    /// Protocol of the collector; its usual port is 4317 for grpc and 4318 for http/protobuf
    #[arg(long, env = "OTEL_EXPORTER_OTLP_PROTOCOL", default_value = "grpc", value_name = "PROTOCOL")]
    pub otel_exporter_otlp_protocol: Protocol,
    /// Timeout for sending a batch of spans in milliseconds
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TIMEOUT", default_value_t = 10_000, value_name = "MS",
          value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub otel_exporter_otlp_timeout: u64,
    /// Service name in traces [default: api-gateway, or shard-N]
    #[arg(
        long,
        env = "OTEL_SERVICE_NAME",
        default_value = "",
        hide_default_value = true,
        value_name = "NAME"
    )]
    pub otel_service_name: String,
    /// Sampler; with parentbased_… the caller's decision has priority
    #[arg(
        long,
        env = "OTEL_TRACES_SAMPLER",
        default_value = "parentbased_always_on",
        value_name = "SAMPLER"
    )]
    pub otel_traces_sampler: SamplerName,
    /// The share of requests that …traceidratio samples, 0 to 1
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", default_value_t = 1.0, value_name = "SHARE", value_parser = share)]
    pub otel_traces_sampler_arg: f64,
    /// Largest number of queued spans; more are dropped and counted
    #[arg(long, env = "OTEL_BSP_MAX_QUEUE_SIZE", default_value_t = 2_048, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub otel_bsp_max_queue_size: u32,
    /// Largest number of spans in a batch, at most OTEL_BSP_MAX_QUEUE_SIZE
    #[arg(long, env = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", default_value_t = 512, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub otel_bsp_max_export_batch_size: u32,
    /// Milliseconds after which a partial batch is sent
    #[arg(long, env = "OTEL_BSP_SCHEDULE_DELAY", default_value_t = 5_000, value_name = "MS",
          value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub otel_bsp_schedule_delay: u64,
}

/// The transports of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// Protobuf in HTTP/1.1 requests.
    #[value(name = "http/protobuf")]
    Http,
}

/// The standard samplers of OpenTelemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum SamplerName {
    /// Every request.
    AlwaysOn,
    /// No request.
    AlwaysOff,
    /// A share of the requests, selected by trace id.
    #[value(name = "traceidratio")]
    Ratio,
    /// The caller's decision, else every request.
    #[value(name = "parentbased_always_on")]
    ParentAlwaysOn,
    /// The caller's decision, else no request.
    #[value(name = "parentbased_always_off")]
    ParentAlwaysOff,
    /// The caller's decision, else a share of the requests.
    #[value(name = "parentbased_traceidratio")]
    ParentRatio,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "allowed: a number from 0 to 1".to_owned())
}

/// The error for a collector in a build without an exporter.
pub(super) fn without_exporter(endpoint: &str) -> SettingError {
    let allowed = "this build has no OTLP exporter; unset it, or build with `--features otlp`";
    SettingError::new("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint, allowed)
}

/// The validated settings of tracing.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "only the exporter reads them"))]
pub struct TraceSettings {
    /// The URL of the collector, with the path for HTTP.
    pub(super) endpoint: String,
    pub(super) protocol: Protocol,
    pub(super) timeout: Duration,
    pub(super) service_name: String,
    pub(super) sampler: Sampler,
    pub(super) queue: usize,
    pub(super) batch: usize,
    pub(super) delay: Duration,
}

impl TraceArgs {
    /// Validates the settings. Returns `None` without a collector. `default_name` is the service name if none is set.
    ///
    /// # Errors
    /// Returns the first setting that is invalid.
    pub fn checked(&self, default_name: &str) -> Result<Option<TraceSettings>, SettingError> {
        let (queue, batch) = (self.otel_bsp_max_queue_size, self.otel_bsp_max_export_batch_size);
        if batch > queue {
            let allowed = format!("at most OTEL_BSP_MAX_QUEUE_SIZE, which is {queue}");
            return Err(SettingError::new("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", batch.to_string(), allowed));
        }
        if self.otel_exporter_otlp_endpoint.is_empty() {
            return Ok(None);
        }
        if cfg!(not(feature = "otlp")) {
            return Err(without_exporter(&self.otel_exporter_otlp_endpoint));
        }
        let name = Some(self.otel_service_name.as_str()).filter(|name| !name.is_empty());
        Ok(Some(TraceSettings {
            endpoint: self.endpoint()?,
            protocol: self.otel_exporter_otlp_protocol,
            timeout: Duration::from_millis(self.otel_exporter_otlp_timeout),
            service_name: name.unwrap_or(default_name).to_owned(),
            sampler: self.sampler(),
            queue: queue as usize,
            batch: batch as usize,
            delay: Duration::from_millis(self.otel_bsp_schedule_delay),
        }))
    }

    fn endpoint(&self) -> Result<String, SettingError> {
        let text = self.otel_exporter_otlp_endpoint.as_str();
        let refused = |allowed: &str| Err(SettingError::new("OTEL_EXPORTER_OTLP_ENDPOINT", text, allowed));
        let Ok(uri) = text.parse::<Uri>() else { return refused("http://host:port") };
        if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
            return refused("allowed: http://host:port; TLS is not supported");
        }
        match self.otel_exporter_otlp_protocol {
            Protocol::Grpc if uri.path() != "/" => {
                refused("allowed: http://host:port, without a path for grpc")
            }
            Protocol::Grpc => Ok(text.to_owned()),
            // By the standard, the signal's path is appended to the shared endpoint.
            Protocol::Http => Ok(format!("{}/v1/traces", text.trim_end_matches('/'))),
        }
    }

    fn sampler(&self) -> Sampler {
        let share = Sampler::TraceIdRatioBased(self.otel_traces_sampler_arg);
        let or = |root| Sampler::ParentBased(Box::new(root));
        match self.otel_traces_sampler {
            SamplerName::AlwaysOn => Sampler::AlwaysOn,
            SamplerName::AlwaysOff => Sampler::AlwaysOff,
            SamplerName::Ratio => share,
            SamplerName::ParentAlwaysOn => or(Sampler::AlwaysOn),
            SamplerName::ParentAlwaysOff => or(Sampler::AlwaysOff),
            SamplerName::ParentRatio => or(share),
        }
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

    fn settings(args: &[&str]) -> Result<Option<TraceSettings>, String> {
        let args =
            Args::try_parse_from([&["test"], args].concat()).map_err(|err| crate::args::one_line(&err))?;
        args.traces.checked("api-gateway").map_err(|err| err.to_string())
    }

    #[test]
    fn without_a_collector_there_are_none() {
        assert!(settings(&[]).unwrap().is_none());
        assert!(settings(&["--otel-exporter-otlp-endpoint", ""]).unwrap().is_none());
    }

    #[test]
    fn the_defaults_are_the_standards() {
        let settings = settings(&["--otel-exporter-otlp-endpoint=http://c:4317"]).unwrap().unwrap();
        assert_eq!((settings.endpoint.as_str(), settings.protocol), ("http://c:4317", Protocol::Grpc));
        assert_eq!((settings.queue, settings.batch, settings.delay.as_secs()), (2_048, 512, 5));
        assert_eq!((settings.service_name.as_str(), settings.timeout.as_secs()), ("api-gateway", 10));
        assert!(format!("{:?}", settings.sampler).contains("ParentBased(AlwaysOn"));
    }

    #[test]
    fn over_http_the_signal_has_its_path() {
        for endpoint in ["http://c:4318", "http://c:4318/"] {
            let endpoint = format!("--otel-exporter-otlp-endpoint={endpoint}");
            let args = [endpoint.as_str(), "--otel-exporter-otlp-protocol=http/protobuf"];
            assert_eq!(settings(&args).unwrap().unwrap().endpoint, "http://c:4318/v1/traces");
        }
    }

    #[test]
    fn bad_settings_name_variable_value_and_what_is_allowed() {
        for (args, expected) in [
            ("--otel-exporter-otlp-endpoint=c:4317", "http://host:port"),
            ("--otel-exporter-otlp-endpoint=https://c:4317", "TLS is not supported"),
            ("--otel-exporter-otlp-endpoint=http://c:4317/x", "without a path"),
            ("--otel-exporter-otlp-protocol=http/json", "allowed: grpc, http/protobuf"),
            ("--otel-exporter-otlp-timeout=0", "is not in 1..=600000"),
            ("--otel-traces-sampler=sometimes", "parentbased_traceidratio"),
            ("--otel-traces-sampler-arg=2", "a number from 0 to 1"),
            ("--otel-traces-sampler-arg=nan", "a number from 0 to 1"),
            ("--otel-bsp-max-queue-size=0", "is not in 1..=1000000"),
            ("--otel-bsp-max-queue-size=100", "at most OTEL_BSP_MAX_QUEUE_SIZE, which is 100"),
            ("--otel-bsp-schedule-delay=x", "a whole number"),
        ] {
            let line = settings(&[args]).unwrap_err();
            assert!(line.starts_with("OTEL_") && line.contains(expected) && !line.contains('\n'), "{line}");
        }
    }
}

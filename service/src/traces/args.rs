//! The standard `OTEL_…` variables, also as options ([`TraceArgs`]).
//!
//! The specification: <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>. Other than it
//! says, an invalid value is an error, as for every other setting of the lab.

use clap::ValueEnum;
use std::convert::Infallible;

/// A value that is absent if its variable is unset or empty: by the specification both mean the same.
type Set<T> = Option<T>;

/// The settings of tracing, not yet validated.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Traces (OpenTelemetry)")]
pub struct TraceArgs {
    /// Turns tracing off if it is `true`
    #[arg(long, env = "OTEL_SDK_DISABLED", value_parser = disabled, value_name = "BOOL",
          default_value = "", hide_default_value = true)]
    pub otel_sdk_disabled: Set<bool>,
    /// Where spans go: otlp or none [default: otlp]
    #[arg(long, env = "OTEL_TRACES_EXPORTER", value_parser = choice::<ExporterName>, value_name = "EXPORTER",
          default_value = "", hide_default_value = true)]
    pub otel_traces_exporter: Set<ExporterName>,
    /// The collector, http[s]://host:port; without it there is no tracing [default: none]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = text, value_name = "URL",
          default_value = "", hide_default_value = true)]
    pub otel_exporter_otlp_endpoint: Set<String>,
    /// The same for traces only; with http/protobuf it includes the path
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", value_parser = text, value_name = "URL",
          default_value = "", hide_default_value = true)]
    pub otel_exporter_otlp_traces_endpoint: Set<String>,
    /// Protocol of the collector; its usual port is 4317 for grpc and 4318 for http/protobuf [default: grpc]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_PROTOCOL", value_parser = choice::<Protocol>, value_name = "PROTOCOL",
          default_value = "", hide_default_value = true)]
    pub otel_exporter_otlp_protocol: Set<Protocol>,
    /// The same for traces only
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", value_parser = choice::<Protocol>,
          value_name = "PROTOCOL",
          default_value = "", hide_default_value = true)]
    pub otel_exporter_otlp_traces_protocol: Set<Protocol>,
    /// Timeout for sending a batch of spans in milliseconds [default: 10000]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TIMEOUT", value_parser = millis, value_name = "MS",
          default_value = "", hide_default_value = true)]
    pub otel_exporter_otlp_timeout: Set<u64>,
    /// The same for traces only
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", value_parser = millis, value_name = "MS",
          default_value = "", hide_default_value = true)]
    pub otel_exporter_otlp_traces_timeout: Set<u64>,
    /// A PEM file with the certificates that an https:// collector is trusted by [default: the public roots]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_CERTIFICATE", value_parser = text, value_name = "FILE",
          default_value = "", hide_default_value = true)]
    pub otel_exporter_otlp_certificate: Set<String>,
    /// The same for traces only
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", value_parser = text, value_name = "FILE",
          default_value = "", hide_default_value = true)]
    pub otel_exporter_otlp_traces_certificate: Set<String>,
    /// Service name in traces [default: api-gateway, or shard-N]
    #[arg(long, env = "OTEL_SERVICE_NAME", value_parser = text, value_name = "NAME",
          default_value = "", hide_default_value = true)]
    pub otel_service_name: Set<String>,
    /// Sampler; with parentbased_… the caller's decision has priority [default: parentbased_always_on]
    #[arg(long, env = "OTEL_TRACES_SAMPLER", value_parser = choice::<SamplerName>, value_name = "SAMPLER",
          default_value = "", hide_default_value = true)]
    pub otel_traces_sampler: Set<SamplerName>,
    /// The share of requests that …traceidratio samples, 0 to 1 [default: 1]
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", value_parser = share, value_name = "SHARE",
          default_value = "", hide_default_value = true)]
    pub otel_traces_sampler_arg: Set<f64>,
    /// Largest number of queued spans; more are dropped and counted [default: 2048]
    #[arg(long, env = "OTEL_BSP_MAX_QUEUE_SIZE", value_parser = count, value_name = "COUNT",
          default_value = "", hide_default_value = true)]
    pub otel_bsp_max_queue_size: Set<u64>,
    /// Largest number of spans in a batch, at most OTEL_BSP_MAX_QUEUE_SIZE [default: 512]
    #[arg(long, env = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", value_parser = count, value_name = "COUNT",
          default_value = "", hide_default_value = true)]
    pub otel_bsp_max_export_batch_size: Set<u64>,
    /// Milliseconds after which a partial batch is sent [default: 5000]
    #[arg(long, env = "OTEL_BSP_SCHEDULE_DELAY", value_parser = millis, value_name = "MS",
          default_value = "", hide_default_value = true)]
    pub otel_bsp_schedule_delay: Set<u64>,
}

/// Where spans go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExporterName {
    /// To a collector by OTLP.
    Otlp,
    /// Nowhere.
    None,
}

/// The transports of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// Protobuf in HTTP/1.1 requests.
    #[value(name = "http/protobuf")]
    Http,
}

/// The standard samplers of OpenTelemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
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

fn text(text: &str) -> Result<Set<String>, Infallible> {
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

/// By the specification every value other than `true` means false.
fn disabled(text: &str) -> Result<Set<bool>, Infallible> {
    Ok((!text.is_empty()).then(|| text.eq_ignore_ascii_case("true")))
}

fn choice<T: ValueEnum>(text: &str) -> Result<Set<T>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let named = |one: &T| one.to_possible_value().map(|value| value.get_name().to_owned());
    let names: Vec<_> = T::value_variants().iter().filter_map(named).collect();
    T::from_str(text, true).map(Some).map_err(|_| format!("allowed: {}", names.join(", ")))
}

fn share(text: &str) -> Result<Set<f64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.map(Some).ok_or_else(|| "allowed: a number from 0 to 1".to_owned())
}

fn millis(text: &str) -> Result<Set<u64>, String> {
    within(text, 600_000)
}

fn count(text: &str) -> Result<Set<u64>, String> {
    within(text, 1_000_000)
}

fn within(text: &str, most: u64) -> Result<Set<u64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.map(Some).ok_or_else(|| format!("allowed: a whole number from 1 to {most}"))
}

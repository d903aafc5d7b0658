//! Which `OTEL_…` variables of the environment have an effect.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// Variables with a form for all signals and one for traces, which has priority.
const TWO_FORMS: [(&str, &str); 5] = [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"),
    // The exporter's library reads these two itself.
    ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"),
    CERTIFICATE,
];

const CERTIFICATE: (&str, &str) = ("OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE");

/// Other variables that the exporter uses. The library reads the last four itself.
const OTHERS: [&str; 9] = [
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_SAMPLER",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
];

/// What decides whether a variable has an effect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    /// Spans are exported.
    pub(super) exports: bool,
    /// The collector is reached by TLS.
    pub(super) tls: bool,
    /// The sampler needs a ratio.
    pub(super) ratio: bool,
}

/// The set `OTEL_…` variables with their values. An empty variable counts as unset.
pub(super) fn set_variables() -> BTreeMap<String, String> {
    let text = |(name, value): (OsString, OsString)| {
        let name = name.into_string().ok()?;
        let is_set = name.starts_with("OTEL_") && !value.is_empty();
        is_set.then(|| (name, value.to_string_lossy().into_owned()))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// Those of the set variables that change nothing.
pub(super) fn without_effect(set: &BTreeMap<String, String>, used: Use) -> Vec<String> {
    let is_set = |name: &str| set.contains_key(name);
    let has_effect = |name: &str| match name {
        "OTEL_SDK_DISABLED" | "OTEL_TRACES_EXPORTER" => true,
        _ if !used.exports => false,
        "OTEL_TRACES_SAMPLER_ARG" => used.ratio,
        _ if !used.tls && (name == CERTIFICATE.0 || name == CERTIFICATE.1) => false,
        _ => {
            OTHERS.contains(&name)
                || TWO_FORMS.iter().any(|(all, own)| name == *own || name == *all && !is_set(own))
        }
    };
    set.keys().filter(|name| !has_effect(name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: [&str; 8] = [
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_PROPAGATORS",
        "OTEL_SDK_DISABLED",
        "OTEL_SERVICE_NAME",
        "OTEL_TRACES_EXPORTER",
        "OTEL_TRACES_SAMPLER_ARG",
    ];

    fn left(used: Use) -> Vec<String> {
        without_effect(&SET.map(|name| (name.to_owned(), String::new())).into(), used)
    }

    #[test]
    fn a_variable_without_effect_is_named() {
        let all = Use { exports: true, tls: true, ratio: true };
        assert_eq!(left(all), ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_PROPAGATORS"]);
        let plain = Use { tls: false, ratio: false, ..all };
        assert_eq!(left(plain), [SET[0], SET[1], SET[3], SET[7]]);
        assert_eq!(left(Use { exports: false, ..all }), [SET[0], SET[1], SET[2], SET[3], SET[5], SET[7]]);
    }
}

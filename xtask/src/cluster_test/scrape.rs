//! Makes Prometheus' configuration from PodMonitors, as the Prometheus operator does.

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

/// Prometheus' configuration for the PodMonitors in the JSON list `monitors`, scraped every 5 s so that a test need not wait.
///
/// # Errors
/// When a PodMonitor lacks a field.
pub(crate) fn configuration(monitors: &Value) -> Result<Value> {
    let items = monitors["items"].as_array().context("no list of PodMonitors")?;
    let mut jobs = Vec::new();
    for monitor in items {
        let endpoints = monitor["spec"]["podMetricsEndpoints"].as_array().context("no endpoints")?;
        for (index, endpoint) in endpoints.iter().enumerate() {
            jobs.push(job(monitor, index, endpoint)?);
        }
    }
    Ok(json!({
        "global": { "scrape_interval": "5s", "scrape_timeout": "4s", "evaluation_interval": "5s" },
        "rule_files": ["*.rules.yml"],
        "scrape_configs": jobs,
    }))
}

fn job(monitor: &Value, index: usize, endpoint: &Value) -> Result<Value> {
    let text = |name: &str| monitor["metadata"][name].as_str().with_context(|| format!("no {name}"));
    let (namespace, name) = (text("namespace")?, text("name")?);
    let port = endpoint["port"].as_str().context("an endpoint without a port's name")?;
    let labels = monitor["spec"]["selector"]["matchLabels"].as_object().context("no labels to match")?;
    let mut steps = vec![json!({
        "source_labels": ["__meta_kubernetes_pod_phase"], "regex": "(Failed|Succeeded)", "action": "drop",
    })];
    for (label, value) in labels {
        steps.push(keep(&format!("pod_label_{}", underscored(label)), value));
    }
    steps.push(keep("pod_container_port_name", &json!(port)));
    for (source, target) in
        [("namespace", "namespace"), ("pod_container_name", "container"), ("pod_name", "pod")]
    {
        let source = format!("__meta_kubernetes_{source}");
        steps.push(json!({ "source_labels": [source], "target_label": target }));
    }
    steps.push(json!({ "target_label": "job", "replacement": format!("{namespace}/{name}") }));
    steps.push(json!({ "target_label": "endpoint", "replacement": port }));
    steps.extend(given(&endpoint["relabelings"]));
    Ok(json!({
        "job_name": format!("podMonitor/{namespace}/{name}/{index}"),
        "kubernetes_sd_configs": [{ "role": "pod", "namespaces": { "names": [namespace] } }],
        "relabel_configs": steps,
        "metric_relabel_configs": given(&endpoint["metricRelabelings"]),
    }))
}

fn keep(source: &str, value: &Value) -> Value {
    json!({ "source_labels": [format!("__meta_kubernetes_{source}")], "regex": value, "action": "keep" })
}

/// A PodMonitor's relabelings with Prometheus' names of the fields.
fn given(relabelings: &Value) -> Vec<Value> {
    let steps = relabelings.as_array().into_iter().flatten();
    let renamed = |name: &str| match name {
        "sourceLabels" => "source_labels".to_owned(),
        "targetLabel" => "target_label".to_owned(),
        other => other.to_owned(),
    };
    steps
        .filter_map(Value::as_object)
        .map(|step| {
            Value::Object(
                step.iter().map(|(name, value)| (renamed(name), value.clone())).collect::<Map<_, _>>(),
            )
        })
        .collect()
}

fn underscored(label: &str) -> String {
    label.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::configuration;
    use serde_json::json;

    #[test]
    fn labels_choose_pods_and_own_relabelings_come_last() {
        let monitors = json!({ "items": [{
            "metadata": { "name": "shard", "namespace": "lab" },
            "spec": {
                "selector": { "matchLabels": { "app.kubernetes.io/component": "shard" } },
                "podMetricsEndpoints": [{ "port": "http", "relabelings": [
                    { "sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "job", "replacement": "$1" },
                ] }],
            },
        }] });
        let made = configuration(&monitors).unwrap();
        let job = &made["scrape_configs"][0];
        assert_eq!(job["job_name"], "podMonitor/lab/shard/0");
        let steps = job["relabel_configs"].as_array().unwrap();
        assert_eq!(
            steps[1],
            json!({ "source_labels": ["__meta_kubernetes_pod_label_app_kubernetes_io_component"], "regex": "shard",
                    "action": "keep" })
        );
        assert_eq!(steps.last().unwrap()["target_label"], "job");
        assert!(configuration(&json!({})).is_err());
    }
}

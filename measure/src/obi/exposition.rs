//! Reads OBI's counts from its metrics in Prometheus' text format.

/// The number of requests in OBI's histogram of their durations.
const METRIC: &str = "http_server_request_duration_seconds_count{";

/// What the probe and this program request of a shard beside the traffic.
const CONTROL: [&str; 2] = ["/stats", "/ready"];

/// Returns the requests that OBI has counted at the server's port, without control requests.
pub(super) fn requests(text: &str, port: u16) -> u64 {
    let port = port.to_string();
    let counts = text.lines().filter_map(|line| {
        let (labels, value) = labels(line.strip_prefix(METRIC)?)?;
        let label =
            |name: &str| labels.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str());
        let is_control = label("http_route").is_some_and(|route| CONTROL.contains(&route));
        (label("server_port") == Some(&port) && !is_control).then(|| value.trim().parse::<f64>().ok())?
    });
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts, far below 2^53")]
    let sum = counts.sum::<f64>() as u64;
    sum
}

/// Splits `name="value",…} 5` into its labels and the value behind them. A label's value may contain escaped quotes.
fn labels(mut text: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        text = text.trim_start_matches(',');
        if let Some(value) = text.strip_prefix('}') {
            return Some((labels, value));
        }
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = rest.char_indices();
        loop {
            match characters.next()? {
                (_, '\\') => value.push(match characters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (end, '"') => {
                    text = rest.get(end + 1..)?;
                    break;
                }
                (_, other) => value.push(other),
            }
        }
        labels.push((name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::{labels, requests};

    #[test]
    fn a_ports_requests_are_added_up_without_control_requests() {
        let series = |route: &str, port: u16, value: &str| {
            format!(
                "http_server_request_duration_seconds_count{{http_route=\"{route}\",server_port=\"{port}\"}} {value}\n"
            )
        };
        let text = [
            "# TYPE http_server_request_duration_seconds histogram\n".to_owned(),
            series("/data/*", 9001, "20"),
            series("/data", 9001, "1e+03"),
            series("/stats", 9001, "7"),
            series("/data/*", 9002, "5"),
            "http_server_request_duration_seconds_sum{server_port=\"9001\"} 3\n".to_owned(),
            "http_server_request_duration_seconds_count{server_port=\"9001\"} 1\n".to_owned(),
        ]
        .concat();
        assert_eq!((requests(&text, 9001), requests(&text, 9002), requests(&text, 9003)), (1021, 5, 0));
    }

    #[test]
    fn a_labels_value_may_contain_anything() {
        let (found, value) = labels(r#"a="x\"},\\",b=""} 5"#).unwrap();
        assert_eq!((found, value), (vec![("a", "x\"},\\".to_owned()), ("b", String::new())], " 5"));
        assert!(labels(r#"a="x"#).is_none());
    }
}

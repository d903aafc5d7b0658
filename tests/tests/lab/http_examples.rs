//! Sends every example of docs/http.md and compares the answer's fields.

use lab_tests::kernel;
use lab_tests::lab::{Lab, Options};
use reqwest::Method;
use serde_json::Value;

const PAGE: &str = include_str!("../../../docs/http.md");

/// One call with the answer on the page.
struct Example {
    line: usize,
    command: &'static str,
    answer: Value,
}

/// Parses the examples: an `sh` block with one `curl`, followed by a `json` block.
fn examples() -> Vec<Example> {
    let lines: Vec<&str> = PAGE.lines().collect();
    let starts = (0..lines.len()).filter(|&at| lines[at] == "```sh" && lines[at + 1].starts_with("curl "));
    let examples = starts.map(|at| {
        let body = at + 5;
        assert_eq!(lines[body - 1], "```json", "docs/http.md:{body}: an answer follows the call");
        let end = (body..).find(|&end| lines[end] == "```").unwrap();
        let answer = serde_json::from_str(&lines[body..end].concat());
        let answer = answer.unwrap_or_else(|error| panic!("docs/http.md:{}: {error}", body + 1));
        Example { line: at + 2, command: lines[at + 1], answer }
    });
    examples.collect()
}

/// Sends a call of the page to the lab's ports.
async fn send(lab: &Lab, command: &str) -> Value {
    let mut method = Method::GET;
    let (mut url, mut body) = (String::new(), None);
    let mut words = words(command).into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "curl" | "-s" => {}
            "-X" => method = words.next().unwrap().parse().unwrap(),
            "-d" => body = words.next(),
            "|" => break,
            _ => url = word,
        }
    }
    let (port, path) = url.strip_prefix("localhost:").unwrap().split_at(4);
    let url = match port {
        "8000" => lab.at_gateway(path),
        "9010" => format!("http://{}{path}", lab.probe_addr()),
        shard => lab.at_shard(usize::from(shard.as_bytes()[3] - b'0'), path),
    };
    let mut request = lab.client.request(method, url);
    if let Some(body) = body {
        request = request.body(body);
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{command}");
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

/// Splits a command into words and removes quotes.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for character in command.chars() {
        match character {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().unwrap().push(other),
        }
    }
    words
}

/// The first field of `answer` that differs from `example` in name or type. `null` matches any type. Lists are
/// compared by their first elements. With `part`, the example may omit fields.
fn difference(at: &str, example: &Value, answer: &Value, part: bool) -> Option<String> {
    match (example, answer) {
        (Value::Null, _) | (_, Value::Null) => None,
        (Value::Object(example), Value::Object(answer)) => {
            let missing = example.keys().find(|key| !answer.contains_key(*key));
            let more = answer.keys().find(|key| !part && !example.contains_key(*key));
            if let Some(key) = missing.or(more) {
                return Some(format!("{at}.{key} is not in both"));
            }
            example
                .iter()
                .find_map(|(key, value)| difference(&format!("{at}.{key}"), value, &answer[key], part))
        }
        (Value::Array(example), Value::Array(answer)) => {
            difference(&format!("{at}[0]"), example.first()?, answer.first()?, part)
        }
        _ if std::mem::discriminant(example) == std::mem::discriminant(answer) => None,
        _ => Some(format!("{at}: {example} and {answer}")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_http_page_is_answered_as_shown() {
    if !kernel::available("every_example_of_the_http_page_is_answered_as_shown") {
        return;
    }
    let examples = examples();
    assert!(examples.len() >= 12, "only {} examples", examples.len());
    let lab = Lab::start(Options { probe: true, ..Options::default() }).await;
    lab.load(&["run", "celebrity", "--duration", "3"]).await;
    for Example { line, command, answer } in examples {
        let found = send(&lab, command).await;
        let differs = difference("answer", &answer, &found, command.contains(" | jq "));
        assert!(differs.is_none(), "docs/http.md:{line}: {}: {found}", differs.unwrap());
    }
}

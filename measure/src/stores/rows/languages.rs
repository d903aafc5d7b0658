//! Clients of five languages, as they come, on a cluster whose slots migrate.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use lab::command;
use serde_json::Value;

use super::cluster::reshard;
use super::{Context, errors, url};
use crate::accuracy::rule::RowVerdict;
use crate::stores::connection::Connection;
use crate::stores::report::Line;
use crate::stores::rest::Rest;
use crate::stores::server::{self, Server};

/// The clients' sources.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");

/// Slots that move to and fro.
const SLOTS: u32 = 400;

/// A client: how it is built in its folder below `target`, and how it is run.
struct Language {
    name: &'static str,
    build: &'static str,
    run: &'static [&'static str],
}

const LANGUAGES: [Language; 5] = [
    Language {
        name: "python",
        build: "[ -d venv ] || python3 -m venv venv; venv/bin/pip install --quiet --requirement requirements.txt",
        run: &["venv/bin/python", "client.py"],
    },
    Language { name: "node", build: "npm ci --silent --no-audit --no-fund", run: &["node", "client.mjs"] },
    Language { name: "go", build: "go build -o client .", run: &["./client"] },
    Language {
        name: "java",
        build: "mvn --quiet --batch-mode compile",
        run: &["java", "-cp", "target/classes:target/dependency/*", "Client"],
    },
    Language {
        name: "rust",
        build: "cargo build --quiet --release --locked",
        run: &["target/release/client"],
    },
];

/// Runs the row.
pub(crate) fn run(context: &Context<'_>, row: &str) -> Result<Vec<Line>> {
    let nodes = server::cluster("this row", 3).context("the cluster does not start")?;
    let mut lines = Vec::new();
    for language in &LANGUAGES {
        let name = format!("{row}: {}", language.name);
        match one(context, &name, language, &nodes) {
            Ok(found) => lines.extend(found),
            Err(error) => lines.push(Line::not_run(&name, &error)),
        }
    }
    Ok(lines)
}

fn one(context: &Context<'_>, row: &str, language: &Language, nodes: &[Server]) -> Result<Vec<Line>> {
    let folder = build(context.clients, language)?;
    let probe = context.stage.start_watch(&url(&nodes[0]), &[]);
    Rest::read(context.stage, &probe)?;
    let before = redirections(nodes)?;
    let client = start(&folder, language, &nodes[0], if context.full { "15" } else { "5" })?;
    // The client must have connected before the slots move, or it learns the new owners at once.
    context.stage.pause();
    reshard(context, nodes, 0, 2, SLOTS)?;
    reshard(context, nodes, 2, 0, SLOTS)?;
    let report = ended(client)?;
    let rest = Rest::read(context.stage, &probe)?;
    let mut lines = rest.lines(row, &[].into());
    let redirected = redirections(nodes)?.saturating_sub(before);
    let text = |name: &str| report[name].as_str().unwrap_or_default().to_owned();
    let note = format!(
        "{}: {}; {} rounds, {} messages, {} reads from the client's cache, {redirected} MOVED and ASK",
        text("client"),
        text("features"),
        report["rounds"],
        report["messages"],
        report["cached"]
    );
    let verdict = if report["messages"].as_u64() > Some(0) && redirected > 0 {
        RowVerdict::Exact
    } else {
        RowVerdict::Wrong("the client was not redirected, or received no message".to_owned())
    };
    lines.push(Line::plain(&format!("{row}: traffic"), verdict, note));
    probe.stop();
    Ok(lines)
}

/// Copies the sources and installs the libraries below `target`.
fn build(clients: &Path, language: &Language) -> Result<PathBuf> {
    let folder = clients.join(language.name);
    copy(&Path::new(SOURCES).join(language.name), &folder)?;
    let mut build = Command::new("sh");
    build.args(["-ec", language.build]).current_dir(&folder);
    command::run(&mut build, language.build)?;
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).with_context(|| format!("cannot write {}", target.display()))?;
        }
    }
    Ok(())
}

fn start(folder: &Path, language: &Language, node: &Server, seconds: &str) -> Result<Child> {
    let (program, arguments) = language.run.split_first().context("a program")?;
    let path = if program.contains('/') { folder.join(program) } else { PathBuf::from(program) };
    let mut client = Command::new(path);
    client.args(arguments).args([&node.address.to_string(), seconds]).current_dir(folder);
    client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    client.spawn().with_context(|| format!("the {} client does not start", language.name))
}

fn ended(client: Child) -> Result<Value> {
    let output = client.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the client failed: {}", errors.trim());
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().context("the client reports nothing")?;
    serde_json::from_str(last).with_context(|| format!("the client reports {last:?}"))
}

/// Redirections that all nodes have sent.
fn redirections(nodes: &[Server]) -> Result<u64> {
    let mut all = 0;
    for node in nodes {
        let errors = errors(&mut Connection::open(node.address)?)?;
        let counts = errors.iter().filter_map(|line| {
            let (prefix, count) = line.split_once(":count=")?;
            ["errorstat_MOVED", "errorstat_ASK"].contains(&prefix).then_some(count)?.parse::<u64>().ok()
        });
        all += counts.sum::<u64>();
    }
    Ok(all)
}

//! Parses the runbook: blocks, their requirements, expected output and ports.

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use lab::ports::{NODES, Ports};

/// A runnable block.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) name: String,
    pub(super) background: bool,
    pub(super) script: String,
    /// Expected lines of output, in order. `*` matches any text.
    pub(super) prints: Vec<String>,
    pub(super) needs: Vec<Need>,
}

/// A requirement that a lab may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Jaeger,
    Probe,
    Prometheus,
    Redis,
}

/// The rest of the line after ```` ```bash ````, in Runme's syntax.
#[derive(Deserialize)]
struct Head {
    name: String,
    #[serde(default)]
    background: bool,
}

/// Parses all blocks in order.
///
/// # Errors
/// When a line cannot be parsed. The error has its number.
pub(super) fn blocks(text: &str) -> Result<Vec<Block>> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let at = || format!("docs/runbook.md:{}: {line}", index + 1);
        let mut until = |end: &str| -> Result<Vec<String>> {
            let mut inner = Vec::new();
            for (_, line) in lines.by_ref() {
                if line == end {
                    return Ok(inner);
                }
                inner.push(line.to_owned());
            }
            bail!("the block has no end")
        };
        if let Some(head) = line.strip_prefix("```bash ") {
            let Head { name, background } = serde_json::from_str(head).with_context(at)?;
            if blocks.iter().any(|other| other.name == name) {
                bail!("{}: another block has this name", at());
            }
            let script = until("```").with_context(at)?.join("\n");
            blocks.push(Block { name, background, script, ..Block::default() });
        } else if line == "<!-- prints" {
            let block = blocks.last_mut().with_context(at)?;
            block.prints = until("-->").with_context(at)?;
        } else if let Some(need) = line.strip_prefix("<!-- needs ") {
            let need = match need.trim_end_matches("-->").trim() {
                "jaeger" => Need::Jaeger,
                "probe" => Need::Probe,
                "prometheus" => Need::Prometheus,
                "redis" => Need::Redis,
                _ => bail!("{}: a block may need `jaeger`, `probe`, `prometheus` or `redis`", at()),
            };
            blocks.last_mut().with_context(at)?.needs.push(need);
        }
    }
    Ok(blocks)
}

/// Replaces the default ports in `text` by this lab's ports. Also handles `900$shard`.
pub(super) fn on_ports(text: &str, ports: Ports) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|letter: char| letter.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(from.len());
        let (number, after) = from.split_at(end);
        out.push_str(before);
        match number.parse::<u16>() {
            Ok(900) if after.starts_with('$') => out.push_str(&(ports.shard(0) / 10).to_string()),
            Ok(port) => out.push_str(&of_lab(port, ports).unwrap_or(port).to_string()),
            Err(_) => out.push_str(number),
        }
        rest = after;
    }
    out + rest
}

fn of_lab(port: u16, ports: Ports) -> Option<u16> {
    let contract = Ports::new(Ports::DEFAULT_BASE);
    if port == contract.gateway() {
        return Some(ports.gateway());
    }
    if port == contract.probe() {
        return Some(ports.probe());
    }
    // The nodes of a store have the shards' ports, and more.
    (0..NODES).find(|id| port == contract.node(*id)).map(|id| ports.node(id))
}

#[cfg(test)]
mod tests {
    use super::{Block, Need, blocks, on_ports};
    use lab::ports::Ports;

    /// Block names must not change, because notes and editors of users refer to them.
    const NAMES: [&str; 30] = [
        "check-docker",
        "clean-previous",
        "start-lab",
        "wait-healthy",
        "verify-services",
        "show-urls",
        "shard-mapping",
        "single-request",
        "uniform-test",
        "check-uniform-stats",
        "reset-stats",
        "zipfian-test",
        "check-zipfian-stats",
        "reset-before-celebrity",
        "find-celebrity-shard",
        "celebrity-test-no-cache",
        "check-celebrity-stats",
        "enable-cache",
        "celebrity-test-with-cache",
        "check-cache-stats",
        "disable-cache",
        "comparison-demo",
        "generate-traces",
        "cleanup",
        "logs-all",
        "logs-shard-0",
        "logs-gateway",
        "resource-usage",
        "restart-all",
        "check-prometheus",
    ];

    #[test]
    fn the_runbook_has_every_block_that_is_known_by_name() {
        let text = include_str!("../../../docs/runbook.md");
        let found = blocks(text).unwrap();
        for name in NAMES {
            assert!(found.iter().any(|block| block.name == name), "{name}");
        }
        let clean = found.iter().find(|block| block.name == "clean-previous").unwrap();
        assert_eq!(clean.script, "docker compose down -v --remove-orphans");
        assert_eq!(text.matches("```bash").count(), found.len(), "a block without a name is never run");
    }

    #[test]
    fn a_block_has_what_stands_after_it() {
        let text = "```bash {\"name\": \"a\", \"background\": true}\nls\nps\n```\n\n<!-- needs probe -->\n<!-- prints\nx*\ny\n-->\n";
        let expected = Block {
            name: "a".into(),
            background: true,
            script: "ls\nps".into(),
            prints: vec!["x*".into(), "y".into()],
            needs: vec![Need::Probe],
        };
        assert_eq!(blocks(text).unwrap(), [expected]);
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_line() {
        for (bad, expected) in [
            ("x\n```bash {name}\n```", "docs/runbook.md:2"),
            ("```bash {\"name\":\"a\"}\n", "no end"),
            ("<!-- needs magic -->", "`jaeger`, `probe`, `prometheus` or `redis`"),
            ("```bash {\"name\":\"a\"}\n```\n```bash {\"name\":\"a\"}\n```", "another block has this name"),
        ] {
            let error = format!("{:#}", blocks(bad).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_contracts_ports_become_the_labs_and_other_numbers_stay() {
        let moved = on_ports(
            "8000 localhost:9003/x http://localhost:900$shard :9010 9090 18000 300",
            Ports::new(26_000),
        );
        assert_eq!(moved, "26000 localhost:27003/x http://localhost:2700$shard :27010 9090 18000 300");
    }
}

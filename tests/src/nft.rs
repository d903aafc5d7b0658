//! An independent witness of the bytes at the shards' ports: nftables counters.

use serde_json::Value;
use std::process::{Command, Stdio};

/// Counters on a set of TCP ports, in a table of their own; removed when dropped.
pub struct Counters {
    table: String,
}

/// What passed, in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Packets as the IP layer handed them over: one per segment-offload bundle.
    pub packets: u64,
    /// Bytes with IP headers.
    pub bytes: u64,
}

impl Counters {
    /// Counts what arrives at (`input`, destination port) and leaves (`output`, source port) the given local ports.
    ///
    /// # Errors
    /// When nft is absent or refuses.
    pub fn start(ports: &[u16]) -> Result<Self, String> {
        let table = format!("lab_test_{}", std::process::id());
        let mut rules = format!("table inet {table} {{\n");
        for (chain, field) in [("input", "dport"), ("output", "sport")] {
            rules += &format!("chain {chain} {{ type filter hook {chain} priority 0; policy accept;\n");
            for port in ports {
                rules += &format!("tcp {field} {port} counter\n");
            }
            rules += "}\n";
        }
        rules += "}\n";
        let counters = Self { table };
        nft(&["-f", "-"], &rules)?;
        Ok(counters)
    }

    /// What passed since the start at `port`: received and sent.
    ///
    /// # Errors
    /// When nft does not give its counters.
    pub fn read(&self, port: u16) -> Result<(Passed, Passed), String> {
        let listing = nft(&["-j", "list", "table", "inet", &self.table], "")?;
        let listing: Value = serde_json::from_str(&listing).map_err(|err| err.to_string())?;
        let of = |chain: &str| {
            let rules = listing["nftables"].as_array().into_iter().flatten().map(|item| &item["rule"]);
            let rule = rules
                .filter(|rule| rule["chain"] == chain)
                .find(|rule| rule["expr"][0]["match"]["right"] == port)
                .ok_or_else(|| format!("no counter for port {port} in chain {chain}"))?;
            let counter = &rule["expr"][1]["counter"];
            Ok::<_, String>(Passed {
                packets: counter["packets"].as_u64().unwrap_or_default(),
                bytes: counter["bytes"].as_u64().unwrap_or_default(),
            })
        };
        Ok((of("input")?, of("output")?))
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        let _ = nft(&["delete", "table", "inet", &self.table], "");
    }
}

fn nft(args: &[&str], input: &str) -> Result<String, String> {
    use std::io::Write;
    let mut child = Command::new("nft")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|err| format!("nft cannot be run ({err}): apt-get install nftables"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(|err| err.to_string())?;
    }
    let output = child.wait_with_output().map_err(|err| err.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

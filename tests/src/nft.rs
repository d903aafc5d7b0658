//! Counts bytes at the shards' ports independently, with nftables.

use serde_json::Value;
use std::process::{Command, Stdio};

/// Counters for a set of TCP ports, in a separate nftables table. Dropping it removes the table.
pub struct Counters {
    table: String,
}

/// Counted traffic in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Packets as passed by the IP layer. A segmentation-offload bundle counts as one.
    pub packets: u64,
    /// Bytes, including IP headers.
    pub bytes: u64,
}

impl Counters {
    /// Counts the traffic of the given local ports: received (`input`, destination port) and sent (`output`, source
    /// port).
    ///
    /// # Errors
    /// When nft is not installed or fails.
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

    /// The traffic of `port` since the start: received and sent.
    ///
    /// # Errors
    /// When nft does not return its counters.
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

//! Applies the overlays.

use anyhow::Result;

use crate::cluster_test::lab::{Lab, overlay};
use crate::verdicts::Verdicts;

pub(crate) fn run(lab: &mut Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    one(lab, verdicts, "kind", &[]);
    one(lab, verdicts, "production", &["--dry-run=server"]);
    lab.cluster.remove_definitions()?;
    one(lab, verdicts, "kind-without-operator", &[]);
    lab.cluster.add_definitions()?;
    lab.apply_again()
}

fn one(lab: &Lab<'_>, verdicts: &mut Verdicts, name: &str, extra: &[&str]) {
    let folder = overlay(lab.tree, name);
    let arguments = [&["apply", "--server-side", "-k", &folder], extra].concat();
    let shown = format!("kubectl apply --server-side -k {name} {}", extra.join(" "));
    match lab.cluster.kubectl(&arguments) {
        Ok(printed) => {
            let figure = format!("exit 0, {} objects", printed.lines().count());
            verdicts.report(shown.trim(), true, &figure);
        }
        Err(error) => verdicts.report(shown.trim(), false, &format!("{error:#}")),
    }
}

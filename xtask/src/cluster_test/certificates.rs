//! Makes the keys, certificates and kubeconfigs of one run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use lab::command;
use serde_json::json;

use super::network::{API_ADDRESS, NODES};

/// The first address of the Service range, where pods reach the API server.
const API_SERVICE: &str = "10.96.0.1";

/// The folder with the files of one run.
#[derive(Debug, Clone)]
pub(crate) struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes everything in `folder`.
    ///
    /// # Errors
    /// When openssl fails or a file cannot be written.
    pub(crate) fn create(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        let made = Self { folder };
        let mut authority = made.openssl(&["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"]);
        authority.args(["-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=hpl-cluster"]);
        command::capture(authority.args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"]))?;
        command::capture(&mut made.openssl(&["genrsa", "-out", "sa.key", "2048"]))?;
        let names = "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost";
        made.sign(
            "apiserver",
            "/CN=kube-apiserver",
            &format!(
                "extendedKeyUsage=serverAuth,clientAuth\n\
                 subjectAltName={names},IP:{API_SERVICE},IP:{API_ADDRESS},IP:127.0.0.1\n"
            ),
        )?;
        let client = "extendedKeyUsage=clientAuth\nkeyUsage=digitalSignature,keyEncipherment\n";
        made.sign("admin", "/O=system:masters/CN=admin", client)?;
        made.kubeconfig("admin")?;
        for node in NODES {
            made.sign(node, &format!("/O=system:nodes/CN=system:node:{node}"), client)?;
            made.kubeconfig(node)?;
        }
        Ok(made)
    }

    /// Makes the certificate of a server with this DNS name.
    ///
    /// # Errors
    /// When openssl fails or a file cannot be written.
    pub(crate) fn server(&self, name: &str, dns: &str) -> Result<()> {
        self.sign(
            name,
            &format!("/CN={name}"),
            &format!("extendedKeyUsage=serverAuth\nsubjectAltName=DNS:{dns}\n"),
        )
    }

    /// The path of a file, as text for a command line.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn sign(&self, name: &str, subject: &str, extensions: &str) -> Result<()> {
        let (key, request, extra) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.ext"));
        fs::write(self.folder.join(&extra), extensions)?;
        let mut new = self.openssl(&["req", "-newkey", "rsa:2048", "-nodes", "-subj", subject]);
        command::capture(new.args(["-keyout", &key, "-out", &request]))?;
        let mut sign = self.openssl(&["x509", "-req", "-days", "30", "-CA", "ca.crt", "-CAkey", "ca.key"]);
        sign.args(["-CAcreateserial", "-extfile", &extra, "-in", &request, "-out", &format!("{name}.crt")]);
        command::capture(&mut sign).map(drop)
    }

    fn kubeconfig(&self, name: &str) -> Result<()> {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "hpl",
            "contexts": [{ "name": "hpl", "context": { "cluster": "hpl", "user": "hpl" } }],
            "clusters": [{ "name": "hpl", "cluster": {
                "server": format!("https://{API_ADDRESS}:6443"), "certificate-authority": self.path("ca.crt"),
            } }],
            "users": [{ "name": "hpl", "user": {
                "client-certificate": self.path(&format!("{name}.crt")),
                "client-key": self.path(&format!("{name}.key")),
            } }],
        });
        let file: &Path = &self.folder.join(format!("{name}.conf"));
        fs::write(file, config.to_string()).with_context(|| file.display().to_string())
    }

    fn openssl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("openssl");
        command.current_dir(&self.folder).args(arguments);
        command
    }
}

//! Requests, logins, denied and renamed commands on a real server.

use store::client::Client;
use store::commands::{self, built_in};
use store::credentials::Credentials;
use store::error::StoreError;
use store::info::{Info, Role};
use store::request::Request;

use crate::server::Server;

async fn info(client: &mut Client) -> Info {
    let request = Request::Info(client.sections());
    Info::parse(client.call(request).await.unwrap().text().unwrap()).unwrap()
}

#[tokio::test]
async fn a_server_is_read_and_every_request_is_in_its_own_counts() {
    let Some(server) = Server::start("a_server_is_read", &[]) else { return };
    let mut client = Client::connect(server.address, None).await.unwrap();
    let first = info(&mut client).await;
    assert_eq!((first.role, first.is_cluster, first.clients), (Role::Primary, false, 1));
    let commands = commands::parse(&client.call(Request::Command).await.unwrap()).unwrap();
    let second = info(&mut client).await;
    let grown = |name: &str| {
        let of = |info: &Info| info.calls.get(name).copied().unwrap_or_default().received();
        of(&second) - of(&first)
    };
    // INFO counts itself after its reply.
    assert_eq!((grown("command"), grown("info"), grown("hello")), (1, 1, 0));
    let sent = Request::Command.encode().len() + Request::Info(client.sections()).encode().len();
    assert_eq!(second.client_bytes() - first.client_bytes(), sent as u64);
    assert!(commands.iter().any(|command| command.name == "get"));
    assert!(matches!(client.call(Request::ClusterShards).await, Err(StoreError::Refused { .. })));
    // The error is an answer like any other, so the connection goes on.
    assert_eq!(info(&mut client).await.run_id, first.run_id);
}

#[tokio::test]
async fn the_built_in_commands_are_those_of_the_server_of_that_version() {
    let Some(server) = Server::start("the_built_in_commands", &[]) else { return };
    let mut client = Client::connect(server.address, None).await.unwrap();
    if !info(&mut client).await.version.starts_with("7.0.") {
        return;
    }
    let mut found = commands::parse(&client.call(Request::Command).await.unwrap()).unwrap();
    let mut expected = built_in();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    expected.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(found, expected);
}

#[tokio::test]
async fn passwords_are_required_checked_and_accepted() {
    let Some(server) = Server::start("passwords", &["--requirepass", "right"]) else { return };
    let connect = async |login: Option<Credentials>| Client::connect(server.address, login.as_ref()).await;
    let absent = connect(None).await.unwrap_err();
    assert!(matches!(absent, StoreError::PasswordRequired { .. }), "{absent}");
    let wrong = connect(Credentials::new(None, "wrong")).await.unwrap_err();
    assert!(
        matches!(wrong, StoreError::WrongPassword { .. }) && !wrong.to_string().contains("wrong"),
        "{wrong}"
    );
    let mut client = connect(Credentials::new(None, "right")).await.unwrap();
    assert_eq!(info(&mut client).await.clients, 1);
}

#[tokio::test]
async fn the_smallest_acl_suffices_and_denials_name_the_rule() {
    let users =
        "--user ops on >pass -@all +info +command +cluster|shards +cluster|slots --user blind on >pass -@all";
    let options: Vec<&str> = users.split(' ').collect();
    let Some(server) = Server::start("the_smallest_acl", &options) else { return };
    let login = |user| Credentials::new(Some(user), "pass");
    let mut client = Client::connect(server.address, login("ops").as_ref()).await.unwrap();
    assert!(info(&mut client).await.input_bytes > 0);
    assert!(commands::parse(&client.call(Request::Command).await.unwrap()).is_some());
    let mut blind = Client::connect(server.address, login("blind").as_ref()).await.unwrap();
    let denied = blind.call(Request::Command).await.unwrap_err();
    assert!(denied.is_about_request() && denied.to_string().contains("+command"), "{denied}");
}

#[tokio::test]
async fn a_renamed_command_is_unknown_and_a_server_without_hello_is_read() {
    let options =
        ["--rename-command", "COMMAND", "", "--rename-command", "HELLO", "", "--requirepass", "right"];
    let Some(server) = Server::start("a_renamed_command", &options) else { return };
    let login = Credentials::new(None, "right");
    let mut client = Client::connect(server.address, login.as_ref()).await.unwrap();
    let unknown = client.call(Request::Command).await.unwrap_err();
    assert!(unknown.to_string().contains("renamed"), "{unknown}");
    assert_eq!(info(&mut client).await.clients, 1);
    let wrong = Client::connect(server.address, Credentials::new(None, "wrong").as_ref()).await.unwrap_err();
    assert!(matches!(wrong, StoreError::WrongPassword { .. }), "{wrong}");
}

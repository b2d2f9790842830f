//! The API held against its own document: schemathesis asks a whole server as everybody, with every
//! check on. What it may leave alone stands with its reason in `schemathesis.toml`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hoga::identity::Role;
use serde_json::json;
use tokio::process::Command;

use crate::support::{TestServer, an_auction, in_s, with};

/// How much is asked stands in `schemathesis.toml` and takes seconds; a machine under load may need
/// minutes.
const PATIENCE: Duration = Duration::from_secs(300);
const TOKEN_LIFE_S: i64 = 3_600;

/// As scripts/setup installs it.
fn program() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let program = target.join("schemathesis/bin/schemathesis");
    assert!(program.is_file(), "schemathesis is not installed: run scripts/setup test");
    program
}

/// Auctions in every state that somebody can find.
async fn furnish(server: &TestServer) {
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let live = sora.sells(with(an_auction(), json!({"buy_now_price": 90_000}))).await;
    minji.offers_up_to(&live, 20_000).await.with_status(201);
    let later = json!({"starts_at": in_s(3_600), "ends_at": in_s(7_200)});
    sora.sells(with(an_auction(), later)).await;
}

/// What schemathesis has to say against the server, asked with these roles, or without a token.
async fn asked_as(roles: Option<&[Role]>) -> Result<(), String> {
    let server = TestServer::spawn();
    furnish(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis");
    let mut command = Command::new(program());
    command
        .current_dir(folder.path())
        .env("NO_COLOR", "1")
        .arg("--config-file")
        .arg(here.join("schemathesis.toml"))
        .args(["run", &format!("{}/openapi.json", server.base_url())])
        .args(["--warnings", "off"])
        .kill_on_drop(true);
    if let Some(roles) = roles {
        let user = server.bidder("who asks").await.id;
        let token = server.token(user, roles, TOKEN_LIFE_S);
        command.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    let asked = tokio::time::timeout(PATIENCE, command.output()).await;
    let asked = asked.expect("schemathesis comes to an end").expect("it runs");
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    let has_asked = said.contains("Tested:");
    if asked.status.success() && has_asked {
        return Ok(());
    }
    Err(format!("{said}\n{}", String::from_utf8_lossy(&asked.stderr)))
}

#[tokio::test]
async fn an_anonymous_caller_finds_the_api_as_its_document_says() {
    asked_as(None).await.unwrap_or_else(|said| panic!("{said}"));
}

#[tokio::test]
async fn a_bidder_finds_the_api_as_its_document_says() {
    asked_as(Some(&[Role::Bidder])).await.unwrap_or_else(|said| panic!("{said}"));
}

#[tokio::test]
async fn a_seller_finds_the_api_as_its_document_says() {
    asked_as(Some(&[Role::Seller, Role::Bidder])).await.unwrap_or_else(|said| panic!("{said}"));
}

#[tokio::test]
async fn an_admin_finds_the_api_as_its_document_says() {
    let roles = [Role::Admin, Role::Seller, Role::Bidder];
    asked_as(Some(&roles)).await.unwrap_or_else(|said| panic!("{said}"));
}

//! Postgres over TLS alone.

use std::path::PathBuf;

use hoga::{config::DatabaseUrl, store::Store};

use super::{
    Service,
    certificates::{Authority, Certificates, Signed, text},
    free_port, hoga,
};
use crate::support::{auctions::an_auction, server::TestServer};

/// The only name in the server's certificate.
const NAME: &str = "db.hoga.test";

/// A Postgres that nobody reaches but by TLS.
struct TlsOnly {
    port: u16,
    _service: Service,
}

impl TlsOnly {
    /// `rule` is the end of the line in its pg_hba.conf.
    fn start(
        files: &Certificates,
        server: Signed,
        rule: &str,
        settings: &[(&str, &str)],
    ) -> TlsOnly {
        let (programs, folder, port) = (programs(), files.folder_of_postgres(), free_port());
        let hba = format!("hostssl all all 127.0.0.0/8 {rule}\n");
        let hba = files.file("pg_hba.conf", &hba);
        let server = server.owned_by_postgres();
        let port_text = port.to_string();
        let mut all = vec![
            ("fsync", "off"),
            ("shared_buffers", "16MB"),
            ("listen_addresses", "127.0.0.1"),
            ("port", &port_text),
            ("unix_socket_directories", ""),
            ("hba_file", text(&hba)),
            ("ssl", "on"),
            ("ssl_cert_file", text(&server.certificate)),
            ("ssl_key_file", text(&server.key)),
        ];
        all.extend(settings);
        let settings: String =
            all.iter().map(|(name, value)| format!(" -c '{name}={value}'")).collect();
        let (initdb, postgres) = (programs.join("initdb"), programs.join("postgres"));
        let line = format!(
            "{{ {} -A trust -U hoga -E UTF8 --locale=C.UTF-8 -N -D {folder} && \
             exec {} -D {folder} {settings}; }}",
            text(&initdb),
            text(&postgres),
            folder = text(&folder),
        );
        TlsOnly { port, _service: Service::start(&line, "127.0.0.1", port) }
    }

    /// As a name that leads there, for certificates are made for names.
    fn url(&self, name: &str, parameters: &str) -> String {
        let port = self.port;
        format!("postgres://hoga@{name}:{port}/postgres?hostaddr=127.0.0.1&{parameters}")
    }
}

/// Where `initdb` and `postgres` are.
fn programs() -> PathBuf {
    if let Some(programs) = std::env::var_os("HOGA_POSTGRES_BIN_DIR") {
        return programs.into();
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("Debian's Postgres");
    let mut programs: Vec<PathBuf> =
        versions.map(|version| version.unwrap().path().join("bin")).collect();
    programs.retain(|programs| programs.join("initdb").exists());
    programs.sort();
    programs.pop().expect("Postgres is missing: run scripts/setup test")
}

fn roots(authority: &Authority) -> String {
    format!("sslrootcert={}", text(&authority.file))
}

fn identity(signed: &Signed) -> String {
    format!("sslcert={}&sslkey={}", text(&signed.certificate), text(&signed.key))
}

/// What a command says that cannot connect.
fn refused(url: &str) -> String {
    let (code, said) = hoga(&["migrate"], &[("HOGA_DATABASE_URL", url)]);
    assert_eq!(code, 1, "{url}: {said}");
    said
}

/// A connection of the test's own, over TLS as well.
async fn admin(url: &DatabaseUrl) -> tokio_postgres::Client {
    let (client, connection) = hoga::store::BatchWriter::connect(url, 9).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_goes_over_tls_where_postgres_takes_nothing_else() {
    let files = Certificates::new();
    let (authority, other) = (files.authority("authority"), files.authority("other"));
    let postgres = TlsOnly::start(&files, files.signed(&authority, &[NAME]), "trust", &[]);
    let verified = format!("sslmode=verify-full&{}", roots(&authority));
    let url = DatabaseUrl::parse(&postgres.url(NAME, &verified)).unwrap();
    let mut server = TestServer::spawn_with(|config| config.database_url = Some(url.clone()));
    server.store = Store::new(url.clone()).unwrap();
    let (seller, bidder) = (server.seller("sora").await, server.bidder("minji").await);
    let id = seller.sells(an_auction()).await;
    let mut events = bidder.events(&id).await;
    bidder.offers(&id, 10_000).await.with_status(201);
    while events.next().await.expect("a bid is told").event != "bid.placed" {}
    let spoken = "SELECT count(DISTINCT application_name) FROM pg_stat_activity
                  JOIN pg_stat_ssl USING (pid) WHERE application_name LIKE 'hoga%' AND ssl";
    let admin = admin(&url).await;
    // Background, reader, lease, two lanes.
    assert!(admin.query_one(spoken, &[]).await.unwrap().get::<_, i64>(0) >= 5);
    drop(server);

    // Encrypted and no more: neither the name nor who signed it matters, unless somebody is named.
    let takes = |url: &str| {
        let (code, said) = hoga(&["migrate"], &[("HOGA_DATABASE_URL", url)]);
        assert_eq!(code, 0, "{url}: {said}");
    };
    takes(&postgres.url("elsewhere.test", "sslmode=require"));
    takes(&postgres.url("elsewhere.test", "sslmode=prefer"));
    takes(&postgres.url("elsewhere.test", &format!("sslmode=verify-ca&{}", roots(&authority))));
    let words = "host=db.hoga.test hostaddr=127.0.0.1 user=hoga dbname=postgres sslmode=require";
    takes(&format!("{words} port={}", postgres.port));

    let said = refused(&postgres.url("elsewhere.test", &verified));
    assert!(said.contains("for another host"), "{said}");
    for mode in ["require", "verify-ca", "verify-full"] {
        let said = refused(&postgres.url(NAME, &format!("sslmode={mode}&{}", roots(&other))));
        assert!(said.contains("signed by nobody whom sslrootcert names"), "{mode}: {said}");
    }
    let said = refused(&postgres.url(NAME, "sslmode=disable"));
    assert!(said.contains("may want TLS (sslmode)"), "{said}");
}

#[test]
fn a_clients_certificate_is_shown_and_one_that_is_wrong_is_told_of() {
    let files = Certificates::new();
    let (authority, other) = (files.authority("authority"), files.authority("other"));
    let rule = "trust clientcert=verify-ca";
    let settings = [("ssl_ca_file", text(&authority.file))];
    let server = files.signed(&authority, &[NAME]);
    let postgres = TlsOnly::start(&files, server, rule, &settings);
    let url = |more: &str| {
        postgres.url(NAME, &format!("sslmode=verify-full&{}&{more}", roots(&authority)))
    };
    let client = files.signed(&authority, &["hoga"]);
    let (code, said) = hoga(&["migrate"], &[("HOGA_DATABASE_URL", &url(&identity(&client)))]);
    assert_eq!(code, 0, "{said}");
    let said = refused(&url("application_name=none"));
    assert!(said.contains("sslcert and sslkey"), "{said}");
    let strange = files.signed(&other, &["hoga"]);
    let expired = files.signed_until(&authority, &["hoga"], 2020);
    for wrong in [&strange, &expired] {
        let said = refused(&url(&identity(wrong)));
        assert!(said.contains("does not take the client's certificate"), "{said}");
        assert!(!said.contains("PRIVATE"), "{said}");
    }
}

#[test]
fn a_server_whose_certificate_has_expired_or_that_speaks_no_tls_is_told_of() {
    let files = Certificates::new();
    let authority = files.authority("authority");
    let expired = files.signed_until(&authority, &[NAME], 2020);
    let postgres = TlsOnly::start(&files, expired, "trust", &[]);
    let said = refused(&postgres.url(NAME, &format!("sslmode=verify-ca&{}", roots(&authority))));
    assert!(said.contains("its certificate has expired"), "{said}");
    drop(postgres);
    let server = files.signed(&authority, &[NAME]);
    let plain = TlsOnly::start(&files, server, "trust", &[("ssl", "off")]);
    let said = refused(&plain.url(NAME, "sslmode=require"));
    assert!(said.contains("it speaks no TLS"), "{said}");
}

//! PgBouncer before Postgres, and several hosts.

use hoga::{config::DatabaseUrl, store::Store};
use tokio_postgres::config::Host;

use super::{
    Service,
    certificates::{Certificates, text},
    free_port, hoga,
};
use crate::support::{
    auctions::an_auction, database::Database, server::TestServer, wait::eventually,
};

const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// A pooler before the tests' own cluster, gone when dropped.
struct Pooler {
    port: u16,
    _service: Service,
    _files: Certificates,
}

impl Pooler {
    /// `database` is the end of the line that names the databases.
    fn start(before: &Database, mode: &str, database: &str, more: &str) -> Pooler {
        assert!(
            std::path::Path::new(PROGRAM).exists(),
            "PgBouncer is not at {PROGRAM}: run scripts/setup test"
        );
        let files = Certificates::new();
        let port = free_port();
        let config = before.config();
        let Host::Unix(socket) = &config.get_hosts()[0] else { panic!("it is at a socket") };
        let config = files.file(
            "pgbouncer.ini",
            &format!(
                "[databases]\n* = host={} port={} user=hoga {database}\n[pgbouncer]\n\
                 listen_addr=127.0.0.1\nlisten_port={port}\nunix_socket_dir=\nauth_type=any\n\
                 pool_mode={mode}\nmax_client_conn=200\n{more}\n",
                socket.display(),
                config.get_ports()[0],
            ),
        );
        let service = Service::start(&format!("{PROGRAM} {}", text(&config)), "127.0.0.1", port);
        Pooler { port, _service: service, _files: files }
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

fn name(database: &Database) -> &str {
    database.config().get_dbname().unwrap()
}

#[test]
fn a_pooler_that_gives_each_transaction_another_session_is_refused_with_what_to_use_instead() {
    let database = Database::create();
    let one = "default_pool_size=1";
    let in_turn = "server_round_robin=1";
    for (mode, more) in
        [("transaction", ""), ("transaction", one), ("transaction", in_turn), ("statement", "")]
    {
        let pooler = Pooler::start(&database, mode, "", more);
        let url = format!("postgres://hoga@{}/{}", pooler.host(), name(&database));
        for command in
            [&["migrate"][..], &["roles", "00000000-0000-7000-8000-000000000000"], &["serve"]]
        {
            let (code, said) = hoga(command, &[("HOGA_DATABASE_URL", &url)]);
            assert_eq!(code, 1, "{mode} {more} {command:?}: {said}");
            assert!(said.contains("a pooler stands before Postgres"), "{mode} {more}: {said}");
            assert!(said.contains("pool_mode=session"), "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_works_behind_a_pooler_that_gives_each_connection_a_session_of_its_own() {
    let database = Database::create();
    let pooler = Pooler::start(&database, "session", "", "default_pool_size=80");
    let url = format!("postgres://hoga@{}/{}", pooler.host(), name(&database));
    let url = DatabaseUrl::parse(&url).unwrap();
    let mut server = TestServer::on(database, |config| config.database_url = Some(url.clone()));
    let (seller, bidder) = (server.seller("sora").await, server.bidder("minji").await);
    let id = seller.sells(an_auction()).await;
    bidder.offers(&id, 10_000).await.with_status(201);
    server.restart();
    bidder.offers(&id, 11_000).await.refused(409, "already_leading");
    // The settings of sessions arrive, which no parameter would.
    let store = Store::new(url).unwrap();
    assert_eq!(store.statement_timeout().await.unwrap(), "10s");
    assert_eq!(store.of_lists().statement_timeout().await.unwrap(), "2s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_hosts_the_first_that_takes_writes_is_taken() {
    let database = Database::create();
    let read_only = "connect_query='SET default_transaction_read_only=on'";
    let standby = Pooler::start(&database, "session", read_only, "default_pool_size=80");
    let primary = Pooler::start(&database, "session", "", "default_pool_size=80");
    let of = |hosts: &[&str]| {
        format!(
            "postgres://hoga@{}/{}?target_session_attrs=read-write",
            hosts.join(","),
            name(&database)
        )
    };
    let nobody = format!("127.0.0.1:{}", free_port());
    let no_writes = hoga(&["migrate"], &[("HOGA_DATABASE_URL", &of(&[&nobody, &standby.host()]))]);
    assert_eq!(no_writes.0, 1, "{}", no_writes.1);
    assert!(no_writes.1.contains("it takes no writes"), "{}", no_writes.1);
    assert!(no_writes.1.contains(&nobody), "both are told of: {}", no_writes.1);
    let spare = Pooler::start(&database, "session", "", "default_pool_size=80");
    let url = of(&[&nobody, &standby.host(), &primary.host(), &spare.host()]);
    let url = DatabaseUrl::parse(&url).unwrap();
    let server = TestServer::on(database, |config| config.database_url = Some(url.clone()));
    let (seller, bidder) = (server.seller("sora").await, server.bidder("minji").await);
    let id = seller.sells(an_auction()).await;
    bidder.offers(&id, 10_000).await.with_status(201);
    drop(primary);
    let junho = server.bidder("junho").await;
    eventually("bids go on over the next host", || async {
        (junho.offers(&id, 11_000).await.status == 201).then_some(())
    })
    .await;
}

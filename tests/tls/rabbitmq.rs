//! RabbitMQ over TLS alone, and several brokers.

use hoga::tasks::Tasks;
use hoga::{
    config::Config,
    domain::id::AuctionId,
    events::{
        bus::{Bus, BusStanding, CommittedEvents, Trouble},
        rabbitmq::{Broker as Address, Names, RabbitMq, Servers},
    },
    tls::{ClientTls, Identity, Roots, Verification},
};

use super::{
    certificates::{Authority, Certificates, Signed, text},
    free_port, hoga,
};
use crate::{
    rabbit::{broker::Broker, bus::event, recorder::Recorder},
    support::{
        auctions::an_auction, database::Database, eventually, server::TestServer, wait::promptly,
    },
};

fn configured(variables: &[(&str, &str)]) -> Config {
    let lookup = |name: &str| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    Config::read(&lookup).unwrap()
}

fn tls(authority: &Authority, identity: Option<&Signed>) -> ClientTls {
    let identity = identity.map(|signed| Identity {
        certificate: signed.certificate.clone(),
        key: signed.key.clone(),
    });
    ClientTls {
        verification: Verification::ChainAndHost(Roots::File(authority.file.clone())),
        identity,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bids_are_told_over_a_broker_that_speaks_tls_alone() {
    let files = Certificates::new();
    let (authority, other) = (files.authority("authority"), files.authority("other"));
    let server = files.signed(&authority, &["localhost"]);
    let client = files.signed(&authority, &["hoga"]);
    let options = format!(
        "ssl_options.cacertfile = {}\nssl_options.certfile = {}\nssl_options.keyfile = {}\n\
         ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n",
        text(&authority.file),
        text(&server.certificate),
        text(&server.key)
    );
    let broker = Broker::start_with_tls(&options);
    let url = |host: &str| format!("amqps://guest:guest@{host}:{}/%2f", broker.port());
    let nobody = format!("amqps://guest:guest@localhost:{}/%2f", free_port());
    let both = format!("{nobody},{}", url("localhost"));
    let variables = [
        ("HOGA_AMQP_URL", both.as_str()),
        ("HOGA_AMQP_CA_FILE", text(&authority.file)),
        ("HOGA_AMQP_CERT_FILE", text(&client.certificate)),
        ("HOGA_AMQP_KEY_FILE", text(&client.key)),
    ];
    let server = TestServer::spawn_with(|config| {
        config.amqp_url = configured(&variables).amqp_url;
        config.amqp_prefix = Some("tls.".to_owned());
    });
    let (seller, bidder) = (server.seller("sora").await, server.bidder("minji").await);
    eventually("the bus is up", || async {
        (bidder.get("/readyz").await.json()["bus"] == "up").then_some(())
    })
    .await;
    let id = seller.sells(an_auction()).await;
    let mut events = bidder.events(&id).await;
    bidder.offers(&id, 10_000).await.with_status(201);
    while events.next().await.expect("a bid is told").event != "bid.placed" {}
    server.all_is_published().await;

    let standing = async |uri: String, tls: ClientTls| {
        let servers = Servers::new(vec![uri.parse().unwrap()], tls);
        let bus = RabbitMq::start(
            Address { servers, names: Names::with_prefix("no.") },
            Vec::new(),
            &Tasks::unattended(),
        );
        let connecting = BusStanding::Down(Trouble::Connecting);
        eventually("it was tried", || async {
            let standing = bus.standing();
            (standing != connecting).then_some(standing)
        })
        .await
    };
    let untrusted = BusStanding::Down(Trouble::Untrusted);
    let (good, local) = (tls(&authority, Some(&client)), url("localhost"));
    assert_eq!(standing(local.clone(), good.clone()).await, BusStanding::Up);
    assert_eq!(standing(url("127.0.0.1"), good).await, untrusted, "another host");
    assert_eq!(
        standing(local.clone(), tls(&other, Some(&client))).await,
        untrusted,
        "another root"
    );
    assert_eq!(standing(local.clone(), tls(&authority, None)).await, untrusted, "no certificate");
    let strange = files.signed(&other, &["hoga"]);
    assert_eq!(standing(local, tls(&authority, Some(&strange))).await, untrusted, "a strange one");

    let database = Database::create();
    let database_url = database.url();
    let said = |url: &str, ca: &Authority, more: &[(&str, &str)]| {
        let mut variables = vec![
            ("HOGA_DATABASE_URL", database_url.as_str()),
            ("HOGA_AMQP_URL", url),
            ("HOGA_AMQP_CA_FILE", text(&ca.file)),
        ];
        variables.extend(more);
        hoga(&["dead-letters", "list"], &variables)
    };
    let (identity, local) = (&variables[2..], url("localhost"));
    assert_eq!(said(&local, &authority, identity).0, 0);
    let refused = |(code, said): (i32, String), why: &str| {
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(why), "{said}");
        assert!(!said.contains("guest:guest"), "{said}");
    };
    refused(said(&url("127.0.0.1"), &authority, identity), "for another host");
    refused(said(&local, &other, identity), "signed by nobody whom HOGA_AMQP_CA_FILE names");
    refused(said(&local, &authority, &[]), "HOGA_AMQP_CERT_FILE and HOGA_AMQP_KEY_FILE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_brokers_another_is_taken_when_one_goes_away() {
    let (one, two) = (Broker::start(), Broker::start());
    let uris = [&one, &two].map(|broker| broker.url().parse().unwrap());
    let tls = ClientTls { verification: Verification::Nothing, identity: None };
    let servers = Servers::new(uris.into(), tls);
    let address = Address { servers, names: Names::with_prefix("two.") };
    let bus = RabbitMq::start(address, vec![Recorder::new()], &Tasks::unattended());
    let auction = AuctionId(uuid::Uuid::now_v7());
    let published = async |seq| {
        eventually("an event is safe at the broker that is there", || async {
            bus.resume();
            let commit = CommittedEvents::new(vec![event(auction, seq)]);
            promptly("an outcome", bus.publish(commit)).await.ok()
        })
        .await;
    };
    published(1).await;
    one.kill();
    published(2).await;
}

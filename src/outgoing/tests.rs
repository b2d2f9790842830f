//! The sender against receivers on this machine.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io,
    net::IpAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// Answers every connection with these bytes, then closes it, or keeps it open without a word.
async fn receiver(answer: Option<&'static str>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let mut request = vec![0; 64 * 1_024];
            let _ = stream.read(&mut request).await;
            match answer {
                Some(answer) => {
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
                None => open.push(stream),
            }
        }
    });
    (url, connections)
}

fn on_loopback() -> Options {
    Options { loopback: true, call_timeout: Duration::from_millis(300), ..Options::default() }
}

fn named(lookup: impl Fn() -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Lookup {
    Arc::new(move |_| Box::pin(std::future::ready(lookup())))
}

async fn post(options: Options, url: &str) -> Result<Answer, SendError> {
    let sender = Sender::new(options).unwrap();
    let target = sender.target(url).unwrap();
    sender.post(&target, header::HeaderMap::new(), Bytes::from_static(b"{}")).await
}

#[tokio::test]
async fn a_2xx_is_an_answer() {
    let (url, _) = receiver(Some("HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok")).await;
    let answer = post(on_loopback(), &url).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (202, &b"ok"[..]));
}

#[tokio::test]
async fn a_name_that_turned_private_is_refused_at_the_connection() {
    let looked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&looked);
    let lookup = named(move || {
        let is_first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        Ok(vec![if is_first { "8.8.8.8" } else { "127.0.0.1" }.parse().unwrap()])
    });
    // Even where this machine may be reached by its own name.
    let sender = Sender::new(Options { lookup, ..on_loopback() }).unwrap();
    let target = sender.target("https://rebinding.example.com/").unwrap();
    assert_eq!(sender.look_at(&target).await, Ok(()));
    assert_eq!(sender.look_at(&target).await, Err(SendError::AddressRefused));
    let sent = sender.post(&target, header::HeaderMap::new(), Bytes::new()).await;
    assert_eq!(sent, Err(SendError::AddressRefused));
    assert_eq!(looked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn of_many_addresses_only_the_public_ones_are_tried() {
    let mixed = named(|| Ok(["10.0.0.1", "8.8.4.4", "::1"].map(|ip| ip.parse().unwrap()).into()));
    let addresses = Resolver::new(mixed, false).addresses("mixed.example.com").await.unwrap();
    assert_eq!(addresses, ["8.8.4.4".parse::<IpAddr>().unwrap()]);
}

#[tokio::test]
async fn localhost_is_asked_of_nobody() {
    let lying = || named(|| Ok(vec!["8.8.8.8".parse().unwrap()]));
    assert!(Resolver::new(lying(), false).addresses("localhost").await.is_err());
    let here = Resolver::new(lying(), true).addresses("localhost").await.unwrap();
    assert!(here.iter().all(IpAddr::is_loopback));
}

#[tokio::test]
async fn a_name_without_an_address_is_unknown() {
    let lookup = named(|| Err(io::ErrorKind::NotFound.into()));
    let options = Options { lookup, ..Options::default() };
    let sent = post(options, "https://nowhere.example.com/").await;
    assert_eq!(sent, Err(SendError::NameUnknown));
}

#[tokio::test]
async fn a_loopback_target_of_before_is_refused_by_a_sender_that_may_not() {
    let (url, connections) = receiver(Some("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    let target = Sender::new(on_loopback()).unwrap().target(&url).unwrap();
    let strict = Sender::new(Options::default()).unwrap();
    let sent = strict.post(&target, header::HeaderMap::new(), Bytes::new()).await;
    assert_eq!(sent, Err(SendError::AddressRefused));
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (elsewhere, connections) =
        receiver(Some("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    let redirect = format!("HTTP/1.1 307 Go\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
    let (url, _) = receiver(Some(redirect.leak())).await;
    let sent = post(on_loopback(), &url).await;
    assert_eq!(sent, Err(SendError::Status { status: 307, retry_after: None }));
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn whoever_does_not_answer_is_given_up_in_time() {
    let (url, _) = receiver(None).await;
    assert_eq!(post(on_loopback(), &url).await, Err(SendError::TimedOut));
    // Nor a byte now and then, forever.
    let (url, _) = receiver(Some("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab")).await;
    assert!(post(on_loopback(), &url).await.is_err());
}

#[tokio::test]
async fn nobody_there_is_a_broken_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/s3cret", listener.local_addr().unwrap());
    drop(listener);
    let error = post(on_loopback(), &url).await.unwrap_err();
    assert_eq!(error.word(), "connection");
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

#[tokio::test]
async fn gone_and_later_are_told_apart() {
    let (url, _) = receiver(Some("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n")).await;
    assert_eq!(post(on_loopback(), &url).await, Err(SendError::Gone));
    let (url, _) =
        receiver(Some("HTTP/1.1 503 No\r\nretry-after: 30\r\ncontent-length: 0\r\n\r\n")).await;
    let later = Some(RetryAfter::Seconds(30));
    let sent = post(on_loopback(), &url).await;
    assert_eq!(sent, Err(SendError::Status { status: 503, retry_after: later }));
}

#[tokio::test]
async fn of_a_long_answer_only_the_beginning_is_read() {
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n{}", "x".repeat(60_000));
    let (url, _) = receiver(Some(long.leak())).await;
    let answer = post(on_loopback(), &url).await.unwrap();
    assert_eq!(answer.body.len(), ANSWER_BYTES_MAX);
}

#[tokio::test]
async fn a_body_past_the_bound_is_not_sent() {
    let sender = Sender::new(on_loopback()).unwrap();
    let target = sender.target("http://127.0.0.1:9/").err();
    assert_eq!(target, Some(TargetError::Port));
    let target = sender.target("http://127.0.0.1:9000/").unwrap();
    let body = Bytes::from(vec![0; BODY_BYTES_MAX + 1]);
    let sent = sender.post(&target, header::HeaderMap::new(), body).await;
    assert_eq!(sent, Err(SendError::TooLarge(BODY_BYTES_MAX + 1)));
}

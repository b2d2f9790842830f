//! A server that gives prepared answers, for those that Hoga would never give.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

/// Where it answers. It lives as long as the test.
pub fn serve(answers: HashMap<String, String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers = Arc::new(answers);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answers = Arc::clone(&answers);
            thread::spawn(move || answer(stream, &answers));
        }
    });
    url
}

fn answer(mut stream: TcpStream, answers: &HashMap<String, String>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    let _head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (status, body) =
        answers.get(path).map_or(("404 Not Found", "{}"), |body| ("200 OK", body.as_str()));
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}

/// A signing key that no server has.
pub fn a_key(house: &super::house::House) -> std::path::PathBuf {
    let path = house.file("empty", "").with_file_name("another-key.pem");
    hoga::identity::keys::KeyRing::load_or_create(&path).unwrap();
    path
}

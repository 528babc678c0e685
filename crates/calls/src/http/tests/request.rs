//! The requests that are sent.

use super::*;
use crate::request::Body;

fn problem(request: &HttpRequest) -> String {
    send(&client(), request, &allowing("*")).unwrap_err()
}

#[test]
fn requests() {
    let server = Server::always(response(200, "", ""));
    let (client, job) = (client(), allowing("127.0.0.1"));
    let binary = Body::Binary { base64: "AGFiYw==".into() };
    let post = HttpRequest { method: "POST".into(), body: binary, ..get(&server.url("/p?q=%20#f")) };
    let own_agent =
        HttpRequest { headers: vec![("user-agent".into(), "mine".into())], ..get(&server.url("/")) };
    for request in [&post, &own_agent, &get(&server.url("/"))] {
        assert_eq!(send(&client, request, &job).unwrap().status, 200);
    }
    let seen = server.seen();
    assert!(seen[0].starts_with("POST /p?q=%20 HTTP/1.1\r\n") && seen[0].ends_with("\r\n\r\n\0abc"));
    assert!(seen[0].contains("pg_errand/test"));
    assert!(seen[1].contains("mine") && !seen[1].contains("pg_errand"));
    assert!(!seen[2].to_ascii_lowercase().contains("content-length"));
}

#[test]
fn unusual_urls_and_headers() {
    let server = Server::always(response(200, "", ""));
    let request = HttpRequest {
        headers: vec![("X-Name".into(), "Jürgen".into())],
        ..get(&server.url("/ü|^[]{}`'~/..;a=b?x=|^[]{}`'\"<ü>"))
    };
    assert_eq!(send(&client(), &request, &allowing("127.0.0.1")).unwrap().status, 200);
    assert!(
        server.seen()[0].contains("Jürgen") && server.seen()[0].contains("%C3%BC"),
        "{:?}",
        server.seen()
    );
}

#[test]
fn requests_that_are_not_sent() {
    let server = Server::always(response(200, "", ""));
    let get = || get(&server.url("/"));
    let with = |name: &str, value: &str| HttpRequest { headers: vec![(name.into(), value.into())], ..get() };
    assert!(problem(&with("Host", "x")).contains("Host"));
    assert!(problem(&with("Transfer-Encoding", "chunked")).contains("Transfer-Encoding"));
    assert!(problem(&with("X", "a\r\nHost: b")).contains("control character"));
    assert!(problem(&HttpRequest { method: "CONNECT".into(), ..get() }).contains("CONNECT"));
    assert!(problem(&HttpRequest { method: "A B".into(), ..get() }).contains("A B"));
    assert!(problem(&HttpRequest { body: Body::Binary { base64: "?".into() }, ..get() }).contains("base64"));
    let large = HttpRequest { body: Body::Text("x".repeat(10_000)), ..get() };
    assert!(problem(&large).contains("pg_errand.http_max_request_size"));
    assert!(server.seen().is_empty());
}

#[test]
fn no_problem_holds_the_query() {
    for url in [
        "http://inside.test:1/?s3cret",
        "http://unknown.test/?s3cret",
        "http://127.0.0.1:1/s3cret?s3cret",
        "http://a b/?s3cret",
        "ftp://x/?s3cret",
        "http://u:s3cret@x/",
        "s3cret",
        "http://s3cret:99999/",
    ] {
        let problem = problem(&get(url));
        assert!(!problem.contains("s3cret"), "{problem}");
    }
}

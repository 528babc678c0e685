//! Calls through a proxy.

use super::*;
use std::io::Write;

/// A proxy that responds in the place of every host.
fn proxy() -> Server {
    Server::start(|request, stream| {
        let response =
            if request.starts_with("CONNECT ") { "HTTP/1.1 200 OK\r\n\r\n" } else { &response(200, "", "") };
        stream.write_all(response.as_bytes())
    })
}

fn through(proxy: &Server, allowed: &str) -> Job {
    let job = allowing(allowed);
    let proxy = crate::network::ProxyServer { url: proxy.url(""), login: None };
    let network = Network { proxy: Some(proxy), ..(*job.network).clone() };
    Job { network: Arc::new(network), ..job }
}

#[test]
fn names_are_not_resolved_here() {
    let proxy = proxy();
    let job = through(&proxy, "public");
    for host in ["unknown.test", "1.1.1.1"] {
        assert_eq!(send(&client(), &get(&format!("http://{host}/")), &job).unwrap().status, 200);
        assert!(proxy.seen().iter().any(|request| request.starts_with(&format!("CONNECT {host}:80 "))));
    }
}

#[test]
fn names_that_are_not_public_are_refused() {
    let proxy = proxy();
    for host in [
        "localhost",
        "a.localhost.",
        "db",
        "x.local",
        "x.internal",
        "127.0.0.1",
        "0x7f.1",
        "[::1]",
        "10.0.0.1",
    ] {
        let refused =
            send(&client(), &get(&format!("http://{host}/")), &through(&proxy, "public")).unwrap_err();
        assert!(refused.contains("pg_errand.http_allowed_hosts"), "{refused}");
    }
    assert!(proxy.seen().is_empty());
    assert!(send(&client(), &get("http://db/"), &through(&proxy, "db")).is_ok());
    let trusted = Job { trusted_base: Some("http://localhost/".into()), ..through(&proxy, "public") };
    assert!(send(&client(), &get("http://localhost/x"), &trusted).is_ok());
}

#[test]
fn a_user_logs_in_at_the_proxy_and_nowhere_else() {
    let proxy = proxy();
    let login = Some(("ann".to_owned(), "p%41:ss wörd@".to_owned()));
    let job = through(&proxy, "public");
    let proxied = crate::network::ProxyServer { login, ..job.network.proxy.clone().unwrap() };
    assert!(!format!("{proxied:?}").contains("p%41"));
    let network = Network { proxy: Some(proxied), ..(*job.network).clone() };
    let job = Job { network: Arc::new(network), ..job };
    assert_eq!(send(&client(), &get("http://bücher.test/"), &job).unwrap().status, 200);
    let seen = proxy.seen();
    assert!(seen[0].starts_with("CONNECT xn--bcher-kva.test:80 "), "{seen:?}");
    // The encoded form of `ann:p%41:ss wörd@`.
    assert!(seen[0].contains("Proxy-Authorization: Basic YW5uOnAlNDE6c3Mgd8O2cmRA\r\n"), "{seen:?}");
    assert!(!seen[1].to_ascii_lowercase().contains("authorization"), "{seen:?}");
}

#[test]
fn a_proxy_that_refuses_is_named_with_its_status_once() {
    let proxy = Server::always("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
    let problem = send(&client(), &get("https://some.test/"), &through(&proxy, "*")).unwrap_err();
    assert!(problem.contains("pg_errand.http_proxy") && problem.contains("some.test"), "{problem}");
    assert_eq!(problem.matches("407").count(), 1, "{problem}");
}

//! Each redirect of a call is checked on its own.

use super::*;
use crate::credential::{Credential, Placed};
use crate::request::Body;
use std::io::Write;

fn redirecting(status: u16, to: &str) -> Server {
    Server::always(response(status, &format!("Location: {to}\r\n"), ""))
}

fn post(url: &str, redirects: Redirects) -> HttpRequest {
    HttpRequest {
        method: "POST".into(),
        url: url.into(),
        headers: vec![
            ("Content-Type".into(), "text/plain".into()),
            ("Authorization".into(), "own".into()),
            ("Cookie".into(), "own".into()),
            ("X-Kept".into(), "kept".into()),
        ],
        body: Body::Text("the body".into()),
        redirects,
        ..HttpRequest::default()
    }
}

/// A server that redirects `/a` to `/b`.
fn a_to_b(status: u16) -> Server {
    Server::start(move |request, stream| {
        let response = match request.contains(" /a") {
            true => response(status, "Location: b\r\n", ""),
            false => response(200, "", "there"),
        };
        stream.write_all(response.as_bytes())
    })
}

#[test]
fn a_request_that_would_become_another_one_is_not_sent_on() {
    let job = allowing("127.0.0.1");
    for (method, status, is_kept) in [
        ("POST", 301, false),
        ("POST", 302, false),
        ("POST", 303, false),
        ("PUT", 303, false),
        ("DELETE", 303, false),
        ("PUT", 301, true),
        ("DELETE", 302, true),
        ("GET", 303, true),
        ("HEAD", 303, true),
        ("POST", 307, true),
        ("PATCH", 308, true),
    ] {
        let server = a_to_b(status);
        let body = Body::Text(if matches!(method, "GET" | "HEAD") { "" } else { "the body" }.into());
        let request =
            HttpRequest { method: method.into(), body, ..post(&server.url("/a"), Redirects::SameHost) };
        let response = send(&client(), &request, &job).unwrap();
        assert_eq!(response.status == 200, is_kept, "{method} {status}");
        let seen = server.seen();
        assert_eq!(seen.len(), if is_kept { 2 } else { 1 }, "{method} {status}");
        let first = seen[0].replace(" /a", " /b");
        assert!(!is_kept || seen[1] == first, "{method} {status}: {seen:?}");
    }
}

#[test]
fn methods() {
    for (status, is_kept) in [(301, false), (302, false), (303, false), (307, true), (308, true)] {
        let server = a_to_b(status);
        let job = allowing("127.0.0.1");
        let response = send(&client(), &post(&server.url("/a"), Redirects::SameHostAsGet), &job).unwrap();
        assert_eq!(response.body, b"there");
        let second = server.seen()[1].to_ascii_lowercase();
        assert!(second.starts_with(if is_kept { "post /b" } else { "get /b" }), "{status}: {second}");
        assert_eq!(second.contains("the body") && second.contains("content-type: text/plain"), is_kept);
        assert!(second.contains("authorization: own") && second.contains("x-kept: kept"));
    }
}

#[test]
fn redirects_that_are_not_followed_are_the_response() {
    let (there, job) = (Server::always(response(200, "", "")), allowing("127.0.0.1"));
    let away = redirecting(302, &there.url("/"));
    let status = |server: &Server, redirects| {
        send(&client(), &post(&server.url("/a"), redirects), &job).unwrap().status
    };
    assert_eq!(status(&away, Redirects::SameHostAsGet), 302);
    assert_eq!(status(&a_to_b(302), Redirects::None), 302);
    for to in ["ftp://127.0.0.1/", "file:///etc/passwd", "http://u:p@127.0.0.1/", "http://"] {
        let response = send(&client(), &post(&redirecting(302, to).url("/a"), Redirects::AllAsGet), &job);
        let response = response.unwrap();
        assert_eq!((response.status, response.not_followed), (302, Some(NotFollowed::NoTarget)), "{to}");
    }
    assert_eq!(status(&Server::always(response(302, "", "")), Redirects::AllAsGet), 302);
    assert!(there.seen().is_empty());
}

#[test]
fn a_loop_ends() {
    let server = redirecting(302, "/again");
    let job = allowing("127.0.0.1");
    let response = send(&client(), &post(&server.url("/a"), Redirects::AllAsGet), &job).unwrap();
    assert_eq!((response.status, server.seen().len()), (302, 6));
    assert_eq!(response.not_followed, Some(NotFollowed::TooMany));
}

#[test]
fn no_redirect_leads_inside() {
    let inside = Server::always(response(200, "", ""));
    for to in ["127.0.0.1", "2130706433", "inside.test", "[::ffff:127.0.0.1]"] {
        let outside = redirecting(307, &format!("http://{to}:{}/", inside.port));
        let listed = allowing(&format!("public,127.0.0.1:{}", outside.port));
        let trusted = Job { trusted_base: Some(outside.url("")), ..allowing("public") };
        for job in [listed, trusted] {
            let refused = send(&client(), &post(&outside.url("/"), Redirects::All), &job).unwrap_err();
            assert!(refused.contains("pg_errand.http_allowed_hosts"), "{refused}");
        }
    }
    assert!(inside.seen().is_empty());
}

#[test]
fn what_proves_who_we_are_stays_with_the_first_host() {
    let there = Server::start(|request, stream| {
        // The credentials are not sent again when a later redirect leads back to the first host.
        let back = request.split("back=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        let location = format!("Location: http://127.0.0.1:{back}/b\r\n");
        stream.write_all(response(307, &location, "").as_bytes())
    });
    let away = there.url("/?back=");
    let first = Server::start(move |request, stream| {
        let port = stream.local_addr()?.port();
        let response = match request.contains(" /a") {
            true => response(307, &format!("Location: {away}{port}\r\n"), ""),
            false => response(200, "", ""),
        };
        stream.write_all(response.as_bytes())
    });
    let job = Job {
        credentials: vec![
            Credential::header("X-Key", "s3cret".into(), vec!["s3cret".into()]),
            Credential::header("Authorization", "s3cret".into(), vec!["s3cret".into()]),
            Credential {
                placed: Placed::Query { name: "key".into(), value: "s3cret&".into() },
                secrets: vec!["s3cret&".into()],
            },
        ],
        ..allowing("127.0.0.1")
    };
    assert_eq!(send(&client(), &post(&first.url("/a?x=y"), Redirects::All), &job).unwrap().status, 200);
    let sent = first.seen()[0].to_ascii_lowercase();
    assert!(sent.contains("/a?x=y&key=s3cret%26 "), "{sent}");
    assert!(
        sent.contains("x-key: s3cret")
            && sent.contains("authorization: s3cret")
            && !sent.contains("authorization: own")
    );
    for later in [&there.seen()[0], &first.seen()[1]] {
        let later = later.to_ascii_lowercase();
        for word in ["s3cret", "own", "authorization", "cookie", "x-key"] {
            assert!(!later.contains(word), "{later}");
        }
        assert!(later.contains("x-kept: kept") && later.ends_with("the body"));
    }
}

#[test]
fn not_from_https_to_http() {
    let hop = |url: &str| Hop::first(&post(url, Redirects::All), &[], 1000).unwrap();
    let to = |location: &str| Response {
        status: 307,
        headers: vec![("location".into(), location.into())],
        ..Response::default()
    };
    let https = hop("https://example.com/");
    let why = |hop: &Hop, location, redirects| hop.next(&to(location), redirects).err();
    assert_eq!(why(&https, "http://example.com/", Redirects::All), Some(NotFollowed::Insecure));
    assert_eq!(why(&https, "http://example.com/", Redirects::SameHost), Some(NotFollowed::Unwanted));
    assert_eq!(why(&https, "/", Redirects::None), Some(NotFollowed::Unwanted));
    assert!(https.next(&to("//other.example.com/"), Redirects::All).is_ok_and(|next| !next.is_home));
    let http = hop("http://example.com/");
    assert!(http.next(&to("https://example.com/"), Redirects::All).is_ok_and(|next| !next.is_home));
    assert_eq!(why(&http, "https://example.com/", Redirects::SameHost), Some(NotFollowed::Unwanted));
    assert!(http.next(&to("http://EXAMPLE.com.:80/x"), Redirects::SameHost).is_ok_and(|next| next.is_home));
}

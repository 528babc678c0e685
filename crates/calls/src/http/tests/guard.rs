//! Hosts that may and may not be called.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

#[test]
fn no_spelling_leads_inside() {
    let server = Server::always(response(200, "", ""));
    let client = client();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "%31%32%37%2e0.0.1",
        "①②⑦.0.0.1",
        "0",
        "0.0.0.0",
        "[::]",
        "[::1]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "public@127.0.0.1",
        "public:public@127.0.0.1",
        "inside.test",
        "INSIDE.test.",
        "inside%2Etest",
    ] {
        let url = format!("http://{host}:{}/", server.port);
        let refused = send(&client, &get(&url), &allowing("public")).unwrap_err();
        let reason = if host.contains('@') { "with a user" } else { "pg_errand.http_allowed_hosts" };
        assert!(refused.contains(reason), "{host}: {refused}");
    }
    assert!(server.seen().is_empty());
}

#[test]
fn a_refusal_names_host_and_setting_and_not_where_the_name_leads() {
    let refused = send(&client(), &get("http://inside.test/?key=s3cret"), &allowing("public")).unwrap_err();
    for word in ["inside.test", "pg_errand.http_allowed_hosts"] {
        assert!(refused.contains(word), "{refused}");
    }
    assert!(!refused.contains("127.") && !refused.contains("s3cret"), "{refused}");
}

#[test]
fn listed_hosts_are_called() {
    let server = Server::always(response(200, "", ""));
    let url = format!("http://inside.test:{}/", server.port);
    for allowed in
        ["inside.test", "*.test", "*", "public,127.0.0.0/8", &format!("inside.test:{}", server.port)]
    {
        assert_eq!(send(&client(), &get(&url), &allowing(allowed)).unwrap().status, 200, "{allowed}");
    }
    assert!(send(&client(), &get(&url), &allowing("inside.test:1")).is_err());
}

#[test]
fn only_the_allowed_addresses_of_a_name_are_used() {
    let server = Server::always(response(200, "", ""));
    let url = format!("http://two.test:{}/", server.port);
    assert_eq!(send(&client(), &get(&url), &allowing("127.0.0.1")).unwrap().status, 200);
    // No server listens at the first address.
    assert_eq!(send(&client(), &get(&url), &allowing("127.0.0.0/8")).unwrap().status, 200);
    assert!(send(&client(), &get(&url), &allowing("127.0.0.3")).is_err());
}

#[test]
fn the_address_that_was_judged_is_the_one_that_is_called() {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let look_up = |_: &str| Ok(vec![IpAddr::from([127, 0, 0, 1 + COUNT.fetch_add(1, SeqCst) as u8])]);
    let client = Client::with_look_up(look_up, crate::spawn::plainly);
    let server = Server::always(response(200, "Connection: close\r\n", ""));
    let url = format!("http://rebinding.test:{}/", server.port);
    for _ in 0..3 {
        assert_eq!(send(&client, &get(&url), &allowing("127.0.0.1")).unwrap().status, 200);
    }
    assert_eq!(COUNT.load(SeqCst), 1);
}

#[test]
fn a_host_that_a_superuser_has_chosen_is_called() {
    let server = Server::always(response(200, "", ""));
    let client = client();
    let job = Job { trusted_base: Some(server.url("/base")), ..allowing("public") };
    assert_eq!(send(&client, &get(&server.url("/x")), &job).unwrap().status, 200);
    let other = Server::always(response(200, "", ""));
    assert!(send(&client, &get(&other.url("/")), &job).is_err());
}

#[test]
fn connections_kept_alive_do_not_let_others_in() {
    let server = Server::always(response(200, "", ""));
    let client = client();
    let request = get(&server.url("/"));
    let trusted = Job { trusted_base: Some(server.url("")), ..allowing("public") };
    assert!(send(&client, &request, &trusted).is_ok());
    assert!(send(&client, &request, &allowing("public")).is_err());
    assert!(send(&client, &request, &allowing("127.0.0.1")).is_ok());
    assert!(send(&client, &request, &allowing("public")).is_err());
}

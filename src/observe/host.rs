//! Checks that a request to the status page names this machine, or a name that the operator allows.
//!
//! If a user who can reach this listener opens a malicious page in a browser, the page's owner may point the page's own
//! host name to this machine's address (DNS rebinding), and the page could then read the responses as its own. The
//! browser still sends the page's host name as `Host`, so a request is answered only if it names an address,
//! `localhost`, or an allowed name. Probes and scrapers use addresses. A request without `Host` (HTTP/1.0) does not
//! come from a browser and is answered.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::Request;
use hyper::header::HOST;

/// Whether a request may be answered; `allowed` are the names allowed in addition to `localhost`.
pub(super) fn is_allowed<B>(request: &Request<B>, allowed: &[String]) -> bool {
    let headers = request.headers().get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
    // A request in the form for a proxy also names the host in its request line.
    let line = request.uri().authority().map(|authority| authority.as_str());
    let mut named = headers.chain(line).peekable();
    named.peek().is_none() || named.all(|host| is_ours(host, allowed))
}

fn is_ours(host: &str, allowed: &[String]) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        return rest
            .split_once(']')
            .is_some_and(|(address, port)| address.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || is_port(port)));
    }
    let (name, port) = host.find(':').map_or((host, ""), |colon| host.split_at(colon));
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_known = name.parse::<Ipv4Addr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
    is_known && (port.is_empty() || is_port(port))
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_allowed_names_are_ours_and_no_others() {
        let allowed = ["worker-1.corp.example".to_owned()];
        for ours in [
            "127.0.0.1",
            "127.0.0.1:9464",
            "10.1.2.3:9464",
            "[::1]",
            "[::1]:9464",
            "[fe80::1]:80",
            "localhost",
            "LocalHost.:9464",
            "worker-1.corp.example",
            "Worker-1.Corp.Example.:9464",
        ] {
            assert!(is_ours(ours, &allowed), "{ours}");
        }
        for theirs in [
            "",
            ":9464",
            "evil.example",
            "evil.example:9464",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "user@127.0.0.1",
            "127.0.0.1:9464:1",
            "127.0.0.1:x",
            "0x7f.1",
            "127.1",
            "::1",
            "[::1",
            "[::1]x",
            "[evil]",
            "corp.example",
            "x.worker-1.corp.example",
            "localhost..",
        ] {
            assert!(!is_ours(theirs, &allowed), "{theirs}");
        }
    }

    #[test]
    fn every_name_in_a_request_has_to_be_ours() {
        let request = |uri: &str, hosts: &[&str]| {
            let request = Request::builder().uri(uri);
            hosts.iter().fold(request, |request, host| request.header(HOST, *host)).body(()).unwrap()
        };
        assert!(is_allowed(&request("/", &[]), &[]), "HTTP/1.0");
        assert!(is_allowed(&request("/", &["localhost"]), &[]));
        assert!(!is_allowed(&request("/", &["localhost", "evil.example"]), &[]));
        assert!(!is_allowed(&request("http://evil.example/", &["localhost"]), &[]));
        assert!(is_allowed(&request("http://127.0.0.1/", &["localhost"]), &[]));
    }
}

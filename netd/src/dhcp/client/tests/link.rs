//! A link that goes and comes (RFC 2131, section 3.7).

use super::*;

/// Section 3.7: "A client SHOULD use DHCP to reacquire or verify its IP address and network
/// parameters whenever the local network parameters may have changed".
#[test]
fn a_lease_is_verified_when_the_link_is_back() {
    let mut bench = Bench::bound();
    bench.input(Input::LinkDown);
    bench.pass(secs(1000));
    assert_eq!(bench.address(), Some(ADDRESS));
    bench.input(Input::LinkUp);
    assert_eq!(
        bench.last().form(),
        (MessageType::Request, NOWHERE, Some(ADDRESS), None)
    );
    assert_eq!(bench.address(), Some(ADDRESS));
    bench.answer(ack());
    assert!(matches!(bench.events[..], [Event::Renewed { .. }]));
    assert_eq!(bench.lease().expires(), Some(bench.now + LEASE));
}

#[test]
fn on_another_link_the_lease_is_refused() {
    let mut bench = Bench::bound();
    bench.input(Input::LinkDown);
    bench.input(Input::LinkUp);
    bench.answer(nak().by_server(OTHER_SERVER));
    bench.has_lost(Loss::Nak);
    bench.wait();
    assert_eq!(bench.last().kind(), MessageType::Discover);
}

#[test]
fn a_lease_that_nobody_verifies_goes_on() {
    let mut bench = Bench::bound();
    let begun = bench.now;
    bench.input(Input::LinkDown);
    bench.input(Input::LinkUp);
    for _ in 0..2 {
        bench.wait();
        assert_eq!(bench.last().wish(), Some(ADDRESS));
    }
    bench.wait();
    assert_eq!(bench.now - begun, secs(1800));
    assert_eq!(
        bench.last().form(),
        (MessageType::Request, ADDRESS, None, None)
    );
    // The same where T1 has passed meanwhile.
    bench.input(Input::LinkDown);
    bench.pass(secs(1400));
    bench.input(Input::LinkUp);
    bench.pass(secs(40));
    bench.last().is_broadcast();
    assert_eq!(
        bench.last().form(),
        (MessageType::Request, ADDRESS, None, None)
    );
}

#[test]
fn a_lease_ends_also_while_the_link_is_down() {
    let mut bench = Bench::bound();
    bench.input(Input::LinkDown);
    bench.pass(LEASE);
    bench.has_lost(Loss::Expired);
    assert!(bench.sent.is_empty());
    assert_eq!(bench.client.deadline(), None);
    bench.input(Input::LinkUp);
    assert_eq!(bench.last().kind(), MessageType::Discover);
}

#[test]
fn nothing_is_sent_or_heard_on_a_link_that_is_down() {
    let mut bench = Bench::started();
    bench.input(Input::LinkDown);
    bench.answer(offer());
    bench.pass(secs(600));
    assert_eq!(bench.sent.len(), 1);
    bench.input(Input::LinkUp);
    assert_eq!(bench.sent.len(), 2);
    assert_eq!(bench.last().message.secs(), 0);
    bench.answer(offer());
    bench.answer(ack());
    bench.input(Input::LinkDown);
    bench.input(Input::Renew);
    bench.input(Input::Release);
    assert_eq!(bench.sent.len(), 3);
    bench.has_lost(Loss::Released);
    bench.input(Input::LinkUp);
    assert_eq!((bench.sent.len(), bench.client.deadline()), (3, None));
}

#[test]
fn a_link_that_is_up_comes_up_once() {
    let mut bench = Bench::bound();
    bench.input(Input::LinkUp);
    assert!(bench.sent.is_empty());
}

#[test]
fn an_address_is_probed_again_when_the_link_was_away() {
    let mut config = config();
    config.conflict_detection = true;
    let mut bench = Bench::started_with(config);
    bench.answer(offer());
    bench.answer(ack());
    bench.input(Input::LinkDown);
    let address = ADDRESS;
    bench.input(Input::Probed { address });
    assert_eq!(bench.address(), None);
    bench.input(Input::LinkUp);
    assert_eq!(
        bench.last().form(),
        (MessageType::Request, NOWHERE, Some(ADDRESS), None)
    );
    bench.answer(ack());
    assert!(matches!(bench.last_event(), Event::ToProbe(_)));
    bench.input(Input::Probed { address });
    assert_eq!(bench.address(), Some(ADDRESS));
}

#[test]
fn a_saved_lease_waits_for_the_link() {
    let saved = Bench::bound().saved();
    let mut bench = Bench::new();
    bench.start(Some(saved));
    bench.input(Input::LinkDown);
    bench.pass(secs(600));
    assert_eq!(bench.sent.len(), 1);
    bench.input(Input::LinkUp);
    assert_eq!(
        bench.last().form(),
        (MessageType::Request, NOWHERE, Some(ADDRESS), None)
    );
}

//! From nothing to an address (RFC 2131, sections 3.1, 3.2, 4.4.1 and 4.4.2).

use super::*;

/// Table 5, and section 4.4.1: "The client sets 'ciaddr' to 0x00000000", "MUST include its
/// hardware address in the 'chaddr' field".
#[test]
fn discovers_by_broadcast_from_no_address() {
    let mut config = config();
    config.hostname = Some("web".to_owned());
    config.vendor_class = Some("netd".to_owned());
    let bench = Bench::started_with(config);
    let sent = bench.last();
    assert_eq!(sent.form(), (MessageType::Discover, NOWHERE, None, None));
    sent.is_broadcast();
    assert!(!sent.message.flags().broadcast());
    let has = |option: DhcpOption| sent.option(OptionCode::from(&option)) == Some(&option);
    assert!(has(DhcpOption::Hostname("web".to_owned())));
    assert!(has(DhcpOption::ClassIdentifier(b"netd".to_vec())));
    assert!(has(DhcpOption::ClientIdentifier(vec![1, 2, 0, 0, 0, 0, 1])));
    assert!(has(DhcpOption::MaxMessageSize(1472)));
    assert!(has(DhcpOption::RapidCommit));
    let Some(DhcpOption::ParameterRequestList(wanted)) =
        sent.option(OptionCode::ParameterRequestList)
    else {
        panic!("no parameter request list");
    };
    let place = |code| wanted.iter().position(|wanted| *wanted == code).unwrap();
    // RFC 3442: "the Classless Static Routes option code MUST appear in the parameter request
    // list prior to both the Router option code and the Static Routes option code".
    assert!(place(OptionCode::ClasslessStaticRoute) < place(OptionCode::Router));
}

#[test]
fn asks_for_broadcasts_and_for_an_address_where_configured() {
    let mut config = config();
    config.broadcast_flag = true;
    config.rapid_commit = false;
    config.request_address = Some(ADDRESS);
    let mut bench = Bench::started_with(config);
    let sent = bench.last();
    assert_eq!(sent.wish(), Some(ADDRESS));
    assert!(sent.message.flags().broadcast());
    assert_eq!(sent.option(OptionCode::RapidCommit), None);
    bench.answer(offer());
    assert!(bench.last().message.flags().broadcast());
    bench.answer(ack());
    bench.input(Input::Renew);
    assert!(!bench.last().message.flags().broadcast());
}

/// Section 4.4.1: "The client begins in INIT state and forms a DHCPDISCOVER message. The
/// client SHOULD wait a random time between one and ten seconds".
#[test]
fn waits_before_the_first_message() {
    for seed in 0..50 {
        let mut bench = Bench::with(ClientConfig::new(MAC));
        bench.client = Client::new(ClientConfig::new(MAC), seed);
        bench.start(None);
        assert!(bench.sent.is_empty());
        let waited = bench.wait();
        assert!((secs(1)..=secs(10)).contains(&waited), "{waited:?}");
    }
}

/// Section 4.1: "the delay before the first retransmission SHOULD be 4 seconds randomized by
/// the value of a uniform random number chosen from the range -1 to +1. [...] doubled with
/// subsequent retransmissions up to a maximum of 64 seconds."
#[test]
fn backs_off_as_the_standard_says() {
    for seed in 0..20 {
        let mut bench = Bench::new();
        bench.client = Client::new(config(), seed);
        bench.start(None);
        for seconds in [4, 8, 16, 32, 64, 64, 64] {
            let waited = bench.wait();
            let range = secs(seconds - 1)..=secs(seconds + 1);
            assert!(range.contains(&waited), "{waited:?} is not {seconds} s");
        }
    }
}

#[test]
fn backs_off_from_200_ms_on_fast_links() {
    let mut config = config();
    config.timings = Timings::FAST;
    let mut bench = Bench::started_with(config);
    let waits: Vec<f64> = (0..10).map(|_| bench.wait().as_secs_f64()).collect();
    for (waited, usual) in waits
        .iter()
        .zip([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 64.0])
    {
        assert!((waited / usual - 1.0).abs() <= 0.25, "{waits:?}");
    }
}

/// Section 4.4.1: the REQUEST has "the 'server identifier' [...] the 'requested IP address'
/// option MUST be set to the value of 'yiaddr' in the DHCPOFFER"; 4.3.2: "'ciaddr' MUST be
/// zero"; table 5: its number is that of the OFFER and its seconds those of the DISCOVER.
#[test]
fn takes_the_first_offer() {
    let mut bench = Bench::started();
    bench.wait();
    bench.wait();
    let (xid, seconds) = (bench.last().message.xid(), bench.last().message.secs());
    assert!((10..=14).contains(&seconds), "{seconds}");
    bench.pass(secs(1));
    bench.answer(offer());
    let sent = bench.last();
    let expected = (MessageType::Request, NOWHERE, Some(ADDRESS), Some(SERVER));
    assert_eq!(sent.form(), expected);
    sent.is_broadcast();
    assert_eq!((sent.message.xid(), sent.message.secs()), (xid, seconds));
    assert_eq!(sent.option(OptionCode::RapidCommit), None);
    // The others come too late.
    let count = bench.sent.len();
    bench.answer(offer().by_server(OTHER_SERVER).giving(OTHER_ADDRESS));
    assert_eq!(bench.sent.len(), count);
    bench.wait();
    let sent = bench.last();
    assert_eq!(sent.form(), expected);
    assert_eq!((sent.message.xid(), sent.message.secs()), (xid, seconds));
    bench.answer(ack());
    assert!(matches!(bench.last_event(), Event::Bound(lease) if lease.address.ip() == ADDRESS));
    assert_eq!(bench.lease().address.to_string(), "192.168.7.2/28");
    assert_eq!(bench.lease().server_mac, Some(SERVER_MAC));
}

/// Section 4.4.1: "the lease expiration time [is] the sum of the time at which the client sent
/// the DHCPREQUEST message and the duration of the lease"; of several, the first one may have
/// been answered.
#[test]
fn a_lease_counts_from_its_first_request() {
    let mut bench = Bench::started();
    bench.wait();
    bench.answer(offer());
    let asked = bench.now;
    bench.wait();
    bench.pass(secs(1));
    bench.answer(ack());
    assert_eq!(bench.lease().expires(), Some(asked + LEASE));
    assert_eq!(bench.lease().renewal(), Some(asked + secs(1800)));
    assert_eq!(bench.lease().rebinding(), Some(asked + secs(3150)));
}

/// Section 3.1, item 5: "might retransmit the DHCPREQUEST message four times, for a total
/// delay of 60 seconds, before restarting the initialization procedure."
#[test]
fn gives_up_a_server_that_offers_and_never_gives() {
    let mut bench = Bench::started();
    bench.answer(offer());
    let begun = bench.now;
    for _ in 0..3 {
        bench.wait();
        assert_eq!(bench.last().kind(), MessageType::Request);
    }
    bench.wait();
    assert_eq!(bench.last().kind(), MessageType::Discover);
    assert!((56..=64).contains(&(bench.now - begun).as_secs()));
}

/// Section 4.4.1: "any arriving DHCPACK messages must be silently discarded" in SELECTING,
/// and what does not belong to the exchange in every state.
#[test]
fn only_what_answers_the_question_counts() {
    let mut bench = Bench::started();
    let xid = bench.last().message.xid();
    bench.reply(offer(), xid ^ 1);
    bench.answer(ack());
    bench.answer(nak());
    let mut to_another = offer();
    to_another.set_chaddr(&[2, 0, 0, 0, 0, 2]);
    bench.answer(to_another);
    bench.answer(offer().with(DhcpOption::ClientIdentifier(vec![1, 2, 3])));
    assert_eq!(bench.sent.len(), 1);
    bench.answer(offer());
    assert_eq!(bench.sent.len(), 2);
    bench.answer(offer());
    bench.answer(ack().by_server(OTHER_SERVER));
    bench.answer(nak().by_server(OTHER_SERVER));
    assert_eq!((bench.sent.len(), bench.address()), (2, None));
    assert_eq!(bench.events, []);
    bench.answer(ack());
    assert_eq!(bench.address(), Some(ADDRESS));
}

/// RFC 4039, section 3.1: the client takes an ACK with the option at once, and goes on as
/// usual with an OFFER.
#[test]
fn rapid_commit_saves_an_exchange() {
    let mut bench = Bench::started();
    let asked = bench.now;
    bench.pass(secs(1));
    bench.answer(ack().with(DhcpOption::RapidCommit));
    assert_eq!(bench.address(), Some(ADDRESS));
    assert_eq!(bench.lease().expires(), Some(asked + LEASE));

    let mut without = config();
    without.rapid_commit = false;
    let mut bench = Bench::started_with(without);
    bench.answer(ack().with(DhcpOption::RapidCommit));
    assert_eq!(bench.address(), None);
}

/// However long the client has waited, an ACK that answers a DISCOVER gives a whole lease:
/// answers to what was asked minutes ago are none any more.
#[test]
fn rapid_commit_after_hours_gives_a_whole_lease() {
    let mut bench = Bench::started();
    let first = bench.last().message.xid();
    bench.pass(secs(7200));
    bench.reply(ack().with(DhcpOption::RapidCommit), first);
    assert_eq!(bench.address(), None);
    bench.wait();
    bench.answer(ack().with(DhcpOption::RapidCommit));
    assert_eq!(bench.lease().expires(), Some(bench.now + LEASE));
}

/// Section 3.1, item 4: "If the client receives a DHCPNAK message, the client restarts the
/// configuration process." But not at the speed of the link.
#[test]
fn a_refusal_starts_afresh_slower_and_slower() {
    let mut bench = Bench::started();
    let mut waits = Vec::new();
    for _ in 0..9 {
        bench.answer(offer());
        let refused = bench.now;
        bench.answer(nak());
        while bench.last().kind() != MessageType::Discover {
            bench.wait();
        }
        waits.push((bench.now - refused).as_secs());
    }
    assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 64, 64]);
}

/// Section 4.4.2: INIT-REBOOT: "The client MUST insert its known network address as a
/// 'requested IP address' option"; 4.3.2: "'server identifier' MUST NOT be filled in [...]
/// 'ciaddr' MUST be zero".
#[test]
fn a_saved_lease_is_confirmed_in_one_exchange() {
    let saved = Bench::bound().saved();
    let mut bench = Bench::new();
    bench.start(Some(saved));
    let sent = bench.last();
    assert_eq!(
        sent.form(),
        (MessageType::Request, NOWHERE, Some(ADDRESS), None)
    );
    sent.is_broadcast();
    assert_eq!(bench.address(), None);
    // Any server may answer.
    bench.answer(ack().by_server(OTHER_SERVER));
    assert_eq!(bench.address(), Some(ADDRESS));
    assert_eq!(bench.lease().server, OTHER_SERVER);
    // It is not where frames from SERVER come from.
    assert_eq!(bench.lease().server_mac, None);
}

#[test]
fn a_saved_lease_that_is_refused_is_given_up_at_once() {
    let saved = Bench::bound().saved();
    let mut bench = Bench::new();
    bench.start(Some(saved));
    bench.answer(nak());
    bench.has_lost(Loss::Nak);
    let sent = bench.last();
    assert_eq!(sent.form(), (MessageType::Discover, NOWHERE, None, None));
}

/// Section 3.2, item 3: if nobody answers, the client "MAY choose to use the previously
/// allocated network address".
#[test]
fn a_saved_lease_that_nobody_confirms_is_given_up_or_used_as_configured() {
    for keep in [false, true] {
        let saved = Bench::bound().saved();
        let mut config = config();
        config.keep_unconfirmed = keep;
        let mut bench = Bench::with(config);
        bench.start(Some(saved));
        bench.pass(secs(32));
        assert_eq!(bench.address(), keep.then_some(ADDRESS));
        let requests = bench.sent.iter();
        let requests = requests.filter(|sent| sent.kind() == MessageType::Request);
        assert_eq!(requests.count(), 3);
        if !keep {
            let sent = bench.last();
            let expected = (MessageType::Discover, NOWHERE, Some(ADDRESS), None);
            assert_eq!(sent.form(), expected);
        }
    }
}

#[test]
fn a_saved_lease_of_another_client_is_nothing() {
    let saved = Bench::bound().saved();
    let mut other_mac = saved.clone();
    other_mac.mac = SERVER_MAC;
    let mut other_id = saved.clone();
    other_id.client_id = vec![255, 1];
    for saved in [other_mac, other_id] {
        let mut bench = Bench::new();
        bench.start(Some(saved));
        let sent = bench.last();
        assert_eq!(sent.form(), (MessageType::Discover, NOWHERE, None, None));
    }
}

#[test]
fn the_address_of_a_lease_that_has_ended_is_asked_for_again() {
    let mut saved = Bench::bound().saved();
    saved.age = Some(LEASE);
    let mut bench = Bench::new();
    bench.start(Some(saved));
    let expected = (MessageType::Discover, NOWHERE, Some(ADDRESS), None);
    assert_eq!(bench.last().form(), expected);
}

/// Nobody knows its age, so a server has to say that it is good.
#[test]
fn a_saved_lease_of_unknown_age_is_not_used_unconfirmed() {
    let mut saved = Bench::bound().saved();
    saved.age = None;
    let mut config = config();
    config.keep_unconfirmed = true;
    let mut bench = Bench::with(config);
    bench.start(Some(saved));
    assert_eq!(bench.last().wish(), Some(ADDRESS));
    bench.pass(secs(600));
    assert_eq!(bench.address(), None);
}

#[test]
fn tells_once_that_nobody_answers_and_goes_on() {
    let mut bench = Bench::started();
    for _ in 0..2 {
        bench.wait();
    }
    assert_eq!(bench.events, []);
    bench.wait();
    assert_eq!(bench.events, [Event::NoAnswer { stopped: false }]);
    bench.pass(secs(3600));
    assert_eq!(bench.events.len(), 1);
    bench.wait();
    bench.answer(offer());
    bench.answer(ack());
    assert_eq!(bench.address(), Some(ADDRESS));
}

#[test]
fn stops_after_the_last_attempt() {
    let mut config = config();
    config.max_attempts = Some(2);
    let mut bench = Bench::started_with(config);
    bench.pass(secs(3600));
    assert_eq!(bench.sent.len(), 2);
    assert_eq!(bench.events, [Event::NoAnswer { stopped: true }]);
    assert_eq!(bench.client.deadline(), None);
}

/// RFC 5227, section 2.1: the address is probed before it is used.
#[test]
fn an_address_is_used_once_it_is_probed() {
    let mut config = config();
    config.conflict_detection = true;
    let mut bench = Bench::started_with(config);
    bench.answer(offer());
    bench.answer(ack());
    assert!(matches!(bench.last_event(), Event::ToProbe(lease) if lease.address.ip() == ADDRESS));
    assert_eq!(bench.address(), None);
    let address = OTHER_ADDRESS;
    bench.input(Input::Probed { address });
    assert_eq!(bench.address(), None);
    bench.pass(secs(5));
    let address = ADDRESS;
    bench.input(Input::Probed { address });
    assert!(matches!(bench.last_event(), Event::Bound(_)));
    assert_eq!(bench.address(), Some(ADDRESS));
}

#[test]
fn an_address_that_is_never_probed_is_lost_in_the_end() {
    let mut config = config();
    config.conflict_detection = true;
    let mut bench = Bench::started_with(config);
    bench.answer(offer());
    bench.answer(ack());
    bench.pass(LEASE);
    bench.has_lost(Loss::Expired);
}

/// Section 4.4.4 and table 5: a DECLINE is broadcast, has address and server as options,
/// nothing in `ciaddr` and no parameter list; section 3.1, item 5: then ten seconds of rest.
#[test]
fn an_address_in_use_is_declined() {
    let mut config = config();
    config.conflict_detection = true;
    config.request_address = Some(ADDRESS);
    let mut bench = Bench::started_with(config);
    bench.answer(offer());
    bench.answer(ack());
    let address = ADDRESS;
    bench.input(Input::Conflict { address });
    let sent = bench.last();
    let expected = (MessageType::Decline, NOWHERE, Some(ADDRESS), Some(SERVER));
    assert_eq!(sent.form(), expected);
    sent.is_broadcast();
    for code in [
        OptionCode::ParameterRequestList,
        OptionCode::MaxMessageSize,
        OptionCode::Hostname,
    ] {
        assert_eq!(sent.option(code), None);
    }
    assert!(sent.option(OptionCode::ClientIdentifier).is_some());
    bench.has_lost(Loss::Declined);
    assert_eq!(bench.wait(), secs(10));
    // It is not asked for again, whatever is configured.
    let sent = bench.last();
    assert_eq!(sent.form(), (MessageType::Discover, NOWHERE, None, None));
}

/// RFC 5227, section 2.1.1: after ten conflicts, not more than one address in a minute.
#[test]
fn conflicts_without_end_get_slower() {
    let mut config = config();
    config.conflict_detection = true;
    let mut bench = Bench::started_with(config);
    let mut waits = Vec::new();
    for _ in 0..12 {
        bench.answer(offer());
        bench.answer(ack());
        let address = ADDRESS;
        bench.input(Input::Conflict { address });
        waits.push(bench.wait().as_secs());
    }
    assert_eq!(waits[..9], [10; 9]);
    assert_eq!(waits[9..], [60; 3]);
}

/// Section 4.4.3: INFORM has the client's address in `ciaddr`, and is answered to it.
#[test]
fn everything_else_is_asked_for_by_who_has_an_address() {
    let mut bench = Bench::new();
    bench
        .client
        .inform(bench.now, "192.168.7.5/28".parse().unwrap());
    bench.drain();
    let own = Ipv4Addr::new(192, 168, 7, 5);
    assert_eq!(bench.last().form(), (MessageType::Inform, own, None, None));
    bench.wait();
    bench.answer(message(MessageType::Ack, NOWHERE).with(DhcpOption::InterfaceMtu(1400)));
    assert!(matches!(bench.last_event(), Event::Informed(settings) if settings.mtu == Some(1400)));
    assert_eq!((bench.client.deadline(), bench.address()), (None, None));
}

#[test]
fn nobody_answers_who_has_an_address() {
    let mut bench = Bench::new();
    bench
        .client
        .inform(bench.now, "192.168.7.5/28".parse().unwrap());
    bench.pass(secs(3600));
    assert_eq!(bench.sent.len(), 4);
    assert_eq!(bench.events, [Event::NoAnswer { stopped: true }]);
}

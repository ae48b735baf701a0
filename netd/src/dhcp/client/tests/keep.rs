//! With an address, until it is lost (RFC 2131, sections 4.4.5 and 4.4.6).

use super::*;
use crate::dhcp::client::{Changes, Limits, Times};

/// Section 4.4.5: "At time T1 the client moves to RENEWING state and sends (via unicast) a
/// DHCPREQUEST message to the server [...] The client sets the 'ciaddr' field in the
/// DHCPREQUEST to its current network address. [...] MUST NOT include a 'server identifier'".
#[test]
fn renews_by_unicast_at_t1() {
    let mut bench = Bench::bound();
    let begun = bench.now;
    assert_eq!(bench.wait(), secs(1800));
    let sent = bench.last();
    assert_eq!(sent.form(), (MessageType::Request, ADDRESS, None, None));
    assert_eq!(*sent.transmit.destination.ip(), SERVER);
    assert_eq!(sent.transmit.destination_mac, Some(SERVER_MAC));
    assert_eq!(*sent.transmit.source.ip(), ADDRESS);
    assert_eq!(sent.message.secs(), 0);
    bench.pass(secs(1));
    bench.answer(ack());
    assert!(
        matches!(bench.last_event(), Event::Renewed { changes, .. } if *changes == Changes::default())
    );
    let asked = begun + secs(1800);
    assert_eq!(bench.lease().expires(), Some(asked + LEASE));
    assert_eq!(bench.client.deadline(), Some(asked + secs(1800)));
}

/// A server behind a relay is not where the ACK's frame came from.
#[test]
fn a_server_behind_a_relay_is_routed_to() {
    let mut bench = Bench::started();
    bench.answer(offer());
    let mut relayed = ack();
    relayed.set_giaddr(OTHER_SERVER);
    bench.answer(relayed);
    bench.wait();
    assert_eq!(bench.last().transmit.destination_mac, None);
    assert_eq!(*bench.last().transmit.destination.ip(), SERVER);
}

/// Section 4.4.5: "In both RENEWING and REBINDING states, if the client receives no response
/// to its DHCPREQUEST message, the client SHOULD wait one-half of the remaining time until T2
/// (in RENEWING state) and one-half of the remaining lease time (in REBINDING state), down to
/// a minimum of 60 seconds, before retransmitting".
#[test]
fn renews_rebinds_and_loses_when_nobody_answers() {
    let mut bench = Bench::bound();
    let begun = bench.now;
    let mut times = Vec::new();
    let mut xids = Vec::new();
    while bench.now - begun < LEASE {
        bench.wait();
        times.push((bench.now - begun).as_secs());
        let sent = bench.last();
        xids.push(sent.message.xid());
        match bench.now - begun {
            time if time < secs(3150) => {
                assert_eq!(*sent.transmit.destination.ip(), SERVER);
                assert_eq!(sent.form(), (MessageType::Request, ADDRESS, None, None));
                assert_eq!(
                    u64::from(sent.message.secs()),
                    (time - secs(1800)).as_secs()
                );
            }
            time if time < LEASE => {
                sent.is_broadcast();
                assert_eq!(sent.form(), (MessageType::Request, ADDRESS, None, None));
                assert_eq!(
                    u64::from(sent.message.secs()),
                    (time - secs(1800)).as_secs()
                );
            }
            _ => {
                let expected = (MessageType::Discover, NOWHERE, Some(ADDRESS), None);
                assert_eq!(sent.form(), expected);
                assert_eq!(sent.message.secs(), 0);
            }
        }
    }
    let renewals = [1800, 2475, 2812, 2981, 3065, 3125];
    let rebindings = [3150, 3375, 3487, 3547];
    assert_eq!(times, [&renewals[..], &rebindings, &[3600]].concat());
    // A lease counts from the REQUEST that was answered: each has its own number.
    assert!((1..xids.len()).all(|i| !xids[..i].contains(&xids[i])));
    bench.has_lost(Loss::Expired);
    assert_eq!(bench.now - begun, LEASE);
}

/// Nobody calls the client for a day: the host slept.
#[test]
fn a_lease_that_ended_long_ago_is_lost_at_once() {
    let mut bench = Bench::bound();
    bench.now += secs(86_400);
    bench.input(Input::Time);
    bench.has_lost(Loss::Expired);
    assert_eq!(bench.last().kind(), MessageType::Discover);
    assert_eq!(bench.sent.len(), 1);
}

/// In REBINDING any server may answer; in RENEWING the lease's own may refuse.
#[test]
fn another_server_takes_over_when_rebinding() {
    let mut bench = Bench::bound();
    bench.pass(secs(3200));
    bench.answer(ack().by_server(OTHER_SERVER));
    assert_eq!(bench.lease().server, OTHER_SERVER);
    assert!(matches!(bench.last_event(), Event::Renewed { .. }));
}

#[test]
fn what_a_renewal_has_changed_is_told() {
    let mut bench = Bench::bound();
    bench.wait();
    bench.answer(
        ack()
            .with(DhcpOption::InterfaceMtu(1400))
            .without(OptionCode::Router),
    );
    let Event::Renewed { changes, lease } = bench.last_event() else {
        panic!("{:?}", bench.events);
    };
    let expected = Changes {
        mtu: true,
        routes: true,
        ..Changes::default()
    };
    assert_eq!(*changes, expected);
    assert_eq!(lease.settings.mtu, Some(1400));
}

#[test]
fn a_refusal_ends_the_lease_at_once() {
    let mut bench = Bench::bound();
    bench.wait();
    bench.answer(nak().by_server(OTHER_SERVER));
    assert_eq!(bench.address(), Some(ADDRESS));
    bench.answer(nak());
    bench.has_lost(Loss::Nak);
    bench.wait();
    assert_eq!(
        bench.last().form(),
        (MessageType::Discover, NOWHERE, None, None)
    );

    let mut bench = Bench::bound();
    bench.pass(secs(3200));
    bench.answer(nak().by_server(OTHER_SERVER));
    bench.has_lost(Loss::Nak);
}

/// The server has given the old one up.
#[test]
fn another_address_takes_the_place_of_the_old_one() {
    let mut bench = Bench::bound();
    bench.wait();
    bench.answer(ack().giving(OTHER_ADDRESS));
    let [
        Event::Lost {
            address: ADDRESS,
            why: Loss::Replaced,
        },
        Event::Bound(_),
    ] = &bench.events[..]
    else {
        panic!("{:?}", bench.events);
    };
    assert_eq!(bench.address(), Some(OTHER_ADDRESS));
}

/// Nothing that was not asked for changes anything; FORCERENEW (RFC 3203) is not heeded, as
/// it would need authentication.
#[test]
fn a_bound_client_listens_to_nobody() {
    let mut bench = Bench::bound();
    let forged = [
        ack(),
        nak(),
        offer(),
        message(MessageType::ForceRenew, NOWHERE),
    ];
    for message in forged {
        for xid in [0, 1, u32::MAX] {
            bench.reply(message.clone(), xid);
        }
    }
    assert_eq!(bench.address(), Some(ADDRESS));
    assert!(bench.sent.is_empty() && bench.events.is_empty());
    bench.wait();
    bench.answer(message(MessageType::ForceRenew, NOWHERE));
    assert!(matches!(bench.last_event(), Event::Ignored { .. }));
    assert_eq!(bench.sent.len(), 1);
}

/// RFC 2131, section 3.3: "The time value of 0xffffffff is reserved to represent 'infinity'."
#[test]
fn a_lease_for_ever_is_not_renewed_unless_somebody_wants_it() {
    let mut bench = Bench::started();
    bench.answer(offer());
    bench.answer(ack().with(DhcpOption::AddressLeaseTime(u32::MAX)));
    assert_eq!(bench.lease().times, Times::Forever);
    assert_eq!(
        (bench.lease().expires(), bench.client.deadline()),
        (None, None)
    );
    let before = bench.sent.len();
    bench.input(Input::Renew);
    bench.pass(secs(86_400));
    assert_eq!(bench.sent.len() - before, 4);
    assert_eq!(bench.address(), Some(ADDRESS));
}

#[test]
fn a_lease_can_be_renewed_early() {
    let mut bench = Bench::bound();
    bench.pass(secs(100));
    bench.input(Input::Renew);
    assert_eq!(*bench.last().transmit.destination.ip(), SERVER);
    bench.answer(ack());
    assert_eq!(bench.lease().expires(), Some(bench.now + LEASE));
}

/// Section 4.4.6 and table 5: by unicast, with the address in `ciaddr` and the server as an
/// option, without a requested address or parameter list.
#[test]
fn an_address_is_given_back() {
    let mut bench = Bench::bound();
    bench.input(Input::Release);
    let sent = bench.last();
    assert_eq!(
        sent.form(),
        (MessageType::Release, ADDRESS, None, Some(SERVER))
    );
    assert_eq!(*sent.transmit.destination.ip(), SERVER);
    assert_eq!(sent.option(OptionCode::ParameterRequestList), None);
    bench.has_lost(Loss::Released);
    assert_eq!(bench.client.deadline(), None);

    let mut quiet = config();
    quiet.send_release = false;
    let mut bench = Bench::bound_with(quiet);
    bench.input(Input::Release);
    assert!(bench.sent.is_empty());
    bench.has_lost(Loss::Released);
}

/// RFC 5227, section 2.4: a defence that was lost.
#[test]
fn an_address_that_another_host_takes_is_declined() {
    let mut bench = Bench::bound();
    let address = OTHER_ADDRESS;
    bench.input(Input::Conflict { address });
    assert_eq!(bench.address(), Some(ADDRESS));
    let address = ADDRESS;
    bench.input(Input::Conflict { address });
    assert_eq!(bench.last().kind(), MessageType::Decline);
    bench.has_lost(Loss::Declined);
}

/// Section 4.4.5: "T1 defaults to (0.5 * duration_of_lease). T2 defaults to (0.875 *
/// duration_of_lease)", with "some random 'fuzz'"; and "T1 MUST be earlier than T2, which, in
/// turn, MUST be earlier than the time at which the client's lease will expire."
#[test]
fn t1_and_t2_make_sense_whatever_the_server_says() {
    let cases = [
        (3600, None, None),
        (3600, Some(3150), Some(1800)),
        (3600, Some(1800), Some(3600)),
        (3600, Some(0), Some(3000)),
        (3600, Some(3500), None),
        (3600, None, Some(100)),
        (1, None, None),
        (1, Some(1), Some(1)),
        (u32::MAX - 1, None, None),
    ];
    for (lifetime, t1, t2) in cases {
        let mut bench = Bench::started();
        bench.answer(offer());
        let mut given = ack()
            .with(DhcpOption::AddressLeaseTime(lifetime))
            .without(OptionCode::Renewal)
            .without(OptionCode::Rebinding);
        given = t1.map_or(given.clone(), |t1| given.with(DhcpOption::Renewal(t1)));
        given = t2.map_or(given.clone(), |t2| given.with(DhcpOption::Rebinding(t2)));
        bench.answer(given);
        let Times::Limited(limits) = bench.lease().times else {
            panic!("{:?}", bench.lease());
        };
        let part = |time: Duration| time.as_secs_f64() / limits.lifetime.as_secs_f64();
        assert_eq!(limits.lifetime, secs(lifetime.into()));
        assert!((part(limits.renewal) - 0.5).abs() < 0.02, "{limits:?}");
        assert!((part(limits.rebinding) - 0.875).abs() < 0.02, "{limits:?}");
    }
}

#[test]
fn a_server_may_set_t1_alone() {
    let mut bench = Bench::started();
    bench.answer(offer());
    bench.answer(
        ack()
            .with(DhcpOption::Renewal(60))
            .without(OptionCode::Rebinding),
    );
    assert!(
        matches!(bench.lease().times, Times::Limited(Limits { renewal, .. }) if renewal == secs(60))
    );
}

#[test]
fn clients_of_one_lease_time_do_not_renew_together() {
    let times: std::collections::BTreeSet<Duration> = (0..50)
        .map(|seed| {
            let mut bench = Bench::new();
            bench.client = Client::new(config(), seed);
            bench.start(None);
            bench.answer(offer());
            bench.answer(
                ack()
                    .without(OptionCode::Renewal)
                    .without(OptionCode::Rebinding),
            );
            bench.wait()
        })
        .collect();
    assert!(times.len() > 40, "{times:?}");
}

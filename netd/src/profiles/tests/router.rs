//! What is said of router advertisements.

use super::*;

#[test]
fn what_router_advertisements_say_is_read() {
    let etc = Etc::new();
    etc.write(
        "etc/10-web.network",
        "[Match]\nName=ve-web\n\
         [Network]\nIPv6SendRA=yes\n\
         [IPv6SendRA]\nManaged=yes\nOtherInformation=yes\nRouterLifetimeSec=30min\nRouterPreference=high\n\
         HopLimit=12\nReachableTimeSec=30\nRetransmitSec=500ms\nDNS=2001:db8::53 2001:db8::54\n\
         Domains=example.org lab.example\nDNSLifetimeSec=1h\n\
         [IPv6Prefix]\nPrefix=2001:db8:1::/64\nPreferredLifetimeSec=1h\nValidLifetimeSec=2h\n\
         [IPv6RoutePrefix]\nRoute=2001:db8:2::/48\nLifetimeSec=infinity\n\
         [IPv6Prefix]\nOnLink=no\nPrefix=2001:db8:3::/64\nAddressAutoconfiguration=no\n",
    );
    let router = etc.web().router;
    assert!(router.send && router.managed && router.other);
    assert_eq!((router.lifetime, router.hop_limit), (1800, 12));
    assert_eq!(router.preference, crate::ra::Preference::High);
    assert_eq!(
        (router.reachable_time, router.retransmit_time),
        (30_000, 500)
    );
    assert_eq!(router.dns.len(), 2);
    let domains: Vec<&str> = router.domains.iter().map(|name| name.as_str()).collect();
    assert_eq!(domains, ["example.org", "lab.example"]);
    assert_eq!(router.dns_lifetime, Some(Lifetime(3600)));
    let [first, second] = router.prefixes[..] else {
        panic!("{:?}", router.prefixes);
    };
    assert_eq!(first.network, Some("2001:db8:1::/64".parse().unwrap()));
    assert_eq!(
        (first.preferred, first.valid),
        (Lifetime(3600), Lifetime(7200))
    );
    assert!(first.on_link && first.autonomous && !second.on_link && !second.autonomous);
    assert_eq!(second.valid, Lifetime::INFINITE);
    let [route] = router.routes[..] else {
        panic!("{:?}", router.routes);
    };
    assert_eq!(route.network, Some("2001:db8:2::/48".parse().unwrap()));
    assert_eq!(route.lifetime, Lifetime::INFINITE);
}

#[test]
fn what_no_router_advertisement_can_say_is_told_with_its_place() {
    let etc = Etc::new();
    etc.write(
        "etc/10-web.network",
        "[Match]\nName=ve-web\n\
         [IPv6SendRA]\nRouterLifetimeSec=19h\nRouterPreference=best\nHopLimit=256\nDNS=192.0.2.1\n\
         Domains=a..b\nReachableTimeSec=2h\n\
         [IPv6Prefix]\nPrefix=fe80::/64\nPrefix=2001:db8::1/64\nPrefix=10.0.0.0/8\n\
         [IPv6RoutePrefix]\nRoute=ff00::/8\n",
    );
    let (_, messages) = etc.load();
    let wanted = [
        ":4: RouterLifetimeSec=",
        ":5: RouterPreference=",
        ":6: HopLimit=",
        ":7: DNS=",
        ":8: Domains=",
        ":9: ReachableTimeSec=",
        ":11: Prefix=",
        "write 2001:db8::/64",
        ":13: Prefix=",
        ":15: Route=",
    ];
    assert_eq!(messages.len(), wanted.len(), "{messages:?}");
    for (message, wanted) in messages.iter().zip(wanted) {
        assert!(message.contains(wanted), "{message}");
    }
    let (profiles, _) = etc.load();
    let router = of_link(&profiles, "ve-web").router;
    assert_eq!(router.prefixes[0].network, None);
}

#[test]
fn there_are_no_more_prefixes_than_an_advertisement_holds() {
    let etc = Etc::new();
    let sections = "[IPv6Prefix]\nX-Mine=1\n".repeat(9);
    etc.write(
        "etc/10-web.network",
        &format!("[Match]\nName=ve-web\n{sections}"),
    );
    let (profiles, messages) = etc.load();
    assert_eq!(messages.len(), 2, "{messages:?}");
    let router = of_link(&profiles, "ve-web").router;
    assert_eq!(router.prefixes.len(), 7);
}

//! netd's DHCP server with every client that is at hand, on a link of a container's own and
//! in a zone, from the first lease to the last word; what goes over the link meanwhile is
//! looked at by tshark.

mod matrix_support;

use matrix_support::{Client, Place, Stage};
use netns_fixtures::wait_until;
use rspawn_tests::SOON;

#[test]
fn udhcpc_on_a_link_of_its_own() {
    from_the_first_lease_to_the_last_word(Place::Link, Client::Udhcpc);
}

#[test]
fn udhcpc_in_a_zone() {
    from_the_first_lease_to_the_last_word(Place::Zone, Client::Udhcpc);
}

#[test]
fn dhclient_on_a_link_of_its_own() {
    from_the_first_lease_to_the_last_word(Place::Link, Client::Dhclient);
}

#[test]
fn dhclient_in_a_zone() {
    from_the_first_lease_to_the_last_word(Place::Zone, Client::Dhclient);
}

#[test]
fn dhcpcd_on_a_link_of_its_own() {
    from_the_first_lease_to_the_last_word(Place::Link, Client::Dhcpcd);
}

#[test]
fn dhcpcd_in_a_zone() {
    from_the_first_lease_to_the_last_word(Place::Zone, Client::Dhcpcd);
}

fn from_the_first_lease_to_the_last_word(place: Place, kind: Client) {
    let host = rspawn_tests::host();
    let mut stage = Stage::open(&host, place, kind);
    let first = stage.start_client();
    let address = stage.wait_for_address(50);
    let rapid = stage.capture.count(matrix_support::RAPID) > 0;
    assert_eq!(rapid, kind.knows_rapid_commit(), "{}", stage.summary());

    stage.answered(matrix_support::RENEWAL, || first.renew());
    stage.rebinds(&first);
    assert_eq!(stage.wait_for_address(50), address);

    let discovers = stage.capture.count(matrix_support::DISCOVER);
    first.kill();
    let second = if kind.remembers() {
        let mut second = None;
        stage.answered(matrix_support::REBOOT, || {
            second = Some(stage.start_client())
        });
        let again = stage.capture.count(matrix_support::DISCOVER);
        assert_eq!(again, discovers, "{}", stage.summary());
        second.unwrap()
    } else {
        stage.start_client()
    };
    assert_eq!(stage.wait_for_address(50), address);

    // The link has another subnet at its next start.
    second.kill();
    stage.move_to(60);
    let mut third = stage.start_client();
    let address = stage.wait_for_address(60);
    if kind.remembers() {
        stage.capture.wait_for(matrix_support::NAK, 1);
    }
    assert!(stage.is_leased(&address), "{}", stage.status());

    third.release();
    stage.capture.wait_for(matrix_support::RELEASE, 1);
    let released = || !stage.is_leased(&address);
    assert!(wait_until(SOON, released), "{}", stage.status());
}

//! Forwarding between our links and the others, with as little change to the host as the
//! kernel allows.
//!
//! What the kernel does beside the value that is written (tried on 6.18):
//!
//! | written | also changes |
//! |---|---|
//! | IPv4 `all/forwarding` (the same as `ip_forward`) | `forwarding` of each link and of `default`; `all/accept_redirects` becomes the opposite |
//! | IPv4 `LINK/forwarding` | nothing |
//! | IPv6 `all/forwarding` | `forwarding` of each link and of `default`; to 1: as the next line |
//! | IPv6 `LINK/forwarding` to 1, of whatever link | **all** default routes learnt from router advertisements go, but on links with `accept_ra` 2 |
//! | IPv6 `LINK/force_forwarding` (6.17) | nothing |

use std::path::PathBuf;

use super::undo::Entry;
use super::{Protocol, Sysctl, SysctlError, UndoRecord, links};

/// Forwards between our links and the host's others: IPv4 through the global switch, if it
/// is off, and on each link of `uplinks`; IPv6 on each of `uplinks` where the kernel can
/// (6.17), else through the global switch, after seeing to it that the host keeps the
/// routes that it has from router advertisements. Our own links get theirs from
/// [`super::guard`].
///
/// What is changed is in `undo` first. Gives the parameters that were written; a second call
/// writes none.
///
/// # Errors
/// [`SysctlError`]; a link of `uplinks` that went meanwhile is none.
pub fn enable_forwarding(uplinks: &[&str], undo: &UndoRecord) -> Result<Vec<PathBuf>, SysctlError> {
    let mut written = enable_globally(Protocol::V4, undo)?;
    written.extend(enable_on(Protocol::V4, "forwarding", uplinks, undo)?);
    if !Protocol::V6.present() || is_on(&Sysctl::of_all(Protocol::V6, "forwarding"))? {
        return Ok(written);
    }
    if Sysctl::of_all(Protocol::V6, "force_forwarding").exists() {
        written.extend(enable_on(Protocol::V6, "force_forwarding", uplinks, undo)?);
    } else {
        written.extend(enable_ipv6_globally(undo)?);
    }
    Ok(written)
}

/// Makes the host an IPv6 router on a link of ours, as the peers there must see it: its
/// neighbour advertisements carry the Router flag, without which a peer drops its default
/// route through us (RFC 4861 section 7.2.5). For links on which router advertisements are
/// sent.
///
/// The kernel takes this as a reason to drop the default routes that the host has from
/// router advertisements itself; so `accept_ra` goes from 1 to 2 on `others` first, which
/// is to name all links that are not ours. Gives the parameters that were
/// written.
///
/// # Errors
/// [`SysctlError::Missing`] if the link is gone or the host is without IPv6.
pub fn act_as_router(
    link: &str,
    others: &[&str],
    undo: &UndoRecord,
) -> Result<Vec<PathBuf>, SysctlError> {
    let forwarding = Sysctl::of_link(Protocol::V6, link, "forwarding")?;
    if is_on(&forwarding)? {
        return Ok(Vec::new());
    }
    let kept = keep_routes(others)?;
    let mut written = carry_out(kept, undo)?;
    forwarding.ensure("1")?;
    written.push(forwarding.path);
    Ok(written)
}

/// IPv6 as kernels before 6.17 have it: for all links or for none.
pub(super) fn enable_ipv6_globally(undo: &UndoRecord) -> Result<Vec<PathBuf>, SysctlError> {
    let mut kept = keep_routes(&links(Protocol::V6)?)?;
    // Links that come later learn their routes, too.
    kept.extend(planned(
        Sysctl::of_new_links(Protocol::V6, "accept_ra"),
        "1",
        "2",
    )?);
    // Recorded after the switch: its way back must come before theirs.
    let mut entries = switch(Protocol::V6)?;
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    entries.extend(kept.iter().cloned());
    undo.add(entries);
    let mut written = carry_out(kept, undo)?;
    written.extend(enable_globally(Protocol::V6, undo)?);
    Ok(written)
}

fn enable_globally(protocol: Protocol, undo: &UndoRecord) -> Result<Vec<PathBuf>, SysctlError> {
    let entries = switch(protocol)?;
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    undo.add(entries);
    let switch = Sysctl::of_all(protocol, "forwarding");
    switch.ensure("1")?;
    Ok(vec![switch.path])
}

/// What changes when the global switch is turned on; nothing if it is on.
fn switch(protocol: Protocol) -> Result<Vec<Entry>, SysctlError> {
    let all = Sysctl::of_all(protocol, "forwarding");
    if is_on(&all)? {
        return Ok(Vec::new());
    }
    let mut entries = vec![Entry {
        former: all.read()?,
        parameter: all,
        since: "1".to_owned(),
    }];
    let mut beside = vec![(Sysctl::of_new_links(protocol, "forwarding"), "1")];
    if protocol == Protocol::V4 {
        beside.push((Sysctl::of_all(protocol, "accept_redirects"), "0"));
    }
    for (parameter, since) in beside {
        entries.push(Entry {
            former: parameter.read()?,
            parameter,
            since: since.to_owned(),
        });
    }
    // Turned off again, it also turns off what was on before: on those links alone the
    // value must be given back.
    for link in links(protocol)? {
        entries.extend(planned(
            Sysctl::of_link(protocol, &link, "forwarding")?,
            "1",
            "1",
        )?);
    }
    Ok(entries)
}

fn enable_on(
    protocol: Protocol,
    key: &'static str,
    names: &[&str],
    undo: &UndoRecord,
) -> Result<Vec<PathBuf>, SysctlError> {
    let mut entries = Vec::new();
    for link in names {
        entries.extend(planned(Sysctl::of_link(protocol, link, key)?, "0", "1")?);
    }
    carry_out(entries, undo)
}

/// Has these links take router advertisements even while the host forwards.
fn keep_routes(names: &[impl AsRef<str>]) -> Result<Vec<Entry>, SysctlError> {
    let mut entries = Vec::new();
    for link in names {
        entries.extend(planned(
            Sysctl::ipv6_conf(link.as_ref(), "accept_ra")?,
            "1",
            "2",
        )?);
    }
    Ok(entries)
}

/// The change of a parameter, if it exists and has the value `former`.
fn planned(parameter: Sysctl, former: &str, since: &str) -> Result<Option<Entry>, SysctlError> {
    match parameter.read() {
        Ok(now) if now == former => Ok(Some(Entry {
            parameter,
            former: now,
            since: since.to_owned(),
        })),
        Ok(_) | Err(SysctlError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Records changes, then makes them.
fn carry_out(entries: Vec<Entry>, undo: &UndoRecord) -> Result<Vec<PathBuf>, SysctlError> {
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    undo.add(entries.clone());
    let mut written = Vec::new();
    for entry in entries {
        let change = entry.parameter.ensure_if_present(&entry.since)?;
        if matches!(change, Some(super::Change::Changed { .. })) {
            written.push(entry.parameter.path);
        }
    }
    Ok(written)
}

fn is_on(parameter: &Sysctl) -> Result<bool, SysctlError> {
    Ok(parameter.read()? != "0")
}

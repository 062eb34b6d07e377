//! Which remote a name stands for.

use crate::error::{Error, Result};
use crate::options::Info;

/// The one that `selector` stands for: its exact name, `sandbox:NAME`, `linux:NAME`, `remoteprocN`, or `qemu:BOARD` where one
/// remote only is on that board.
///
/// # Errors
/// It is none of them, or several: the error lists them.
pub(crate) fn select<'i>(all: &'i [Info], selector: &str) -> Result<&'i Info> {
    let ways: [&dyn Fn(&Info) -> bool; 2] = [&|info| info.name == selector, &|info| is_meant(info, selector)];
    for way in ways {
        let found: Vec<&Info> = all.iter().filter(|info| way(info)).collect();
        match found[..] {
            [] => {}
            [found] => return Ok(found),
            _ => {
                let candidates = found.iter().map(|info| info.qualified()).collect();
                return Err(Error::Ambiguous { selector: selector.to_owned(), candidates });
            }
        }
    }
    let names: Vec<String> = all.iter().map(Info::qualified).collect();
    let there =
        if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) };
    Err(Error::NotFound { why: format!("there is no remote {selector} ({there})") })
}

/// Whether a name with the kind in it means this one.
fn is_meant(info: &Info, selector: &str) -> bool {
    let id = info.kind.strip_prefix("linux:");
    match selector.split_once(':') {
        Some(("sandbox", name)) => info.kind == "sandbox" && info.name == name,
        Some(("linux", name)) => id.is_some_and(|id| id == name || info.name == name),
        Some(("qemu", _)) => info.kind == selector,
        _ => id == Some(selector),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Info> {
        let of = |(name, kind): (&str, &str)| Info {
            name: name.to_owned(),
            kind: kind.to_owned(),
            state: "running".to_owned(),
        };
        [
            ("radio", "sandbox"),
            ("m4", "linux:remoteproc0"),
            ("m4", "linux:remoteproc1"),
            ("dsp", "linux:remoteproc2"),
            ("dsp", "sandbox"),
            ("board", "qemu:an386"),
        ]
        .map(of)
        .to_vec()
    }

    fn found(selector: &str) -> Result<String> {
        select(&all(), selector).map(Info::qualified)
    }

    #[test]
    fn a_plain_name_is_enough_where_one_remote_has_it_and_a_qualified_one_always() {
        for (selector, expected) in [
            ("radio", "sandbox:radio"),
            ("sandbox:radio", "sandbox:radio"),
            ("remoteproc1", "linux:remoteproc1"),
            ("linux:remoteproc0", "linux:remoteproc0"),
            ("linux:dsp", "linux:remoteproc2"),
            ("sandbox:dsp", "sandbox:dsp"),
            ("qemu:an386", "board"),
        ] {
            assert_eq!(found(selector).as_deref(), Ok(expected), "{selector}");
        }
    }

    #[test]
    fn several_are_listed_so_that_each_can_be_named_and_none_says_what_there_is() {
        let candidates = |selector| match found(selector) {
            Err(Error::Ambiguous { candidates, .. }) => candidates,
            other => panic!("{selector}: {other:?}"),
        };
        assert_eq!(candidates("m4"), ["linux:remoteproc0", "linux:remoteproc1"]);
        assert_eq!(candidates("linux:m4"), ["linux:remoteproc0", "linux:remoteproc1"]);
        assert_eq!(candidates("dsp"), ["linux:remoteproc2", "sandbox:dsp"]);
        for candidate in candidates("dsp") {
            assert_eq!(found(&candidate), Ok(candidate));
        }
        for nobody in
            ["", "Radio", "sandbox:", "sandbox:m4", "linux:radio", "remoteproc", "qemu:other", "a:b:c"]
        {
            let Err(Error::NotFound { why }) = found(nobody) else { panic!("{nobody}") };
            assert!(why.contains("sandbox:radio") && why.contains("linux:remoteproc2"), "{why}");
        }
        let Err(Error::NotFound { why }) = select(&[], "radio") else { panic!() };
        assert_eq!(why, "there is no remote radio (there is none)");
    }
}

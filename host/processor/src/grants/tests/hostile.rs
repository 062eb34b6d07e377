//! What is in the granted directory, or comes into it, and is meant to lead out.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::{
        fs::{MetadataExt, symlink},
        net::UnixListener,
    },
    path::Path as HostPath,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustix::fs::inotify;

use super::*;

#[test]
fn symbolic_links_lead_nowhere_outside() {
    let ground = Ground::new();
    let granted = ground.path("granted");
    fs::create_dir(granted.join("deep")).unwrap();
    let absolute = ground.path("secret");
    let links: [(&str, &OsStr); 10] = [
        ("up", OsStr::new("../secret")),
        ("up-file", OsStr::new("../secret/key")),
        ("deep/up", OsStr::new("../../secret")),
        ("absolute", absolute.as_os_str()),
        ("root", OsStr::new("/")),
        ("etc", OsStr::new("/etc/passwd")),
        ("back", OsStr::new("../granted")),
        ("proc-root", OsStr::new("/proc/self/root")),
        ("proc-cwd", OsStr::new("/proc/self/cwd")),
        ("chain", OsStr::new("deep/up")),
    ];
    for (name, target) in links {
        symlink(target, granted.join(name)).unwrap();
    }
    symlink("loop", granted.join("loop")).unwrap();
    symlink("new", ground.path("secret/dangling")).unwrap();
    let mut grants = ground.granted();
    for (name, _) in links.into_iter().chain([("loop", OsStr::new(""))]) {
        for (i, result) in try_all(&mut grants, name).into_iter().enumerate() {
            assert_eq!(result, Err(Error::Outside), "{name}, attempt {i}");
        }
        let beneath = format!("{name}/key");
        assert_eq!(grants.remove(path(&beneath)), Err(Error::Outside), "{name}");
        assert_eq!(grants.make_directory(path(&beneath)), Err(Error::Outside), "{name}");
        assert_eq!(grants.rename(path(&beneath), path("mine")), Err(Error::Outside), "{name}");
        assert_eq!(grants.rename(path("plain"), path(&beneath)), Err(Error::Outside), "{name}");
    }
    assert_eq!(fs::read(ground.path("secret/key")).unwrap(), b"secret");
    assert_eq!(fs::read_dir(ground.path("secret")).unwrap().count(), 2);
}

#[test]
fn symbolic_links_that_stay_inside_work() {
    let ground = Ground::new();
    let granted = ground.path("granted");
    fs::create_dir(granted.join("deep")).unwrap();
    symlink("../plain", granted.join("deep/link")).unwrap();
    symlink("nothing", granted.join("dangling")).unwrap();
    let mut grants = ground.granted();
    assert_eq!(read(&mut grants, "deep/link").unwrap(), b"plain");
    assert_eq!(grants.stat_path(path("deep/link")), Ok(Info { kind: Kind::File, size: 5 }));
    assert_eq!(grants.open(path("dangling"), Flags::READ).unwrap_err(), Error::NotFound);
    assert_eq!(grants.open(path("dangling"), CREATE).unwrap_err(), Error::Exists);
    // The link goes, not what it leads to.
    assert_eq!(grants.remove(path("deep/link")), Ok(()));
    assert_eq!(grants.remove(path("dangling")), Ok(()));
    assert_eq!(read(&mut grants, "plain").unwrap(), b"plain");
}

#[test]
fn a_link_is_removed_or_replaced_itself_even_where_it_leads_out() {
    let ground = Ground::new();
    symlink("../secret/key", ground.path("granted/link")).unwrap();
    symlink("../secret", ground.path("granted/directory")).unwrap();
    let mut grants = ground.granted();
    assert_eq!(grants.rename(path("plain"), path("link")), Ok(()));
    assert_eq!(grants.remove(path("directory")), Ok(()));
    assert_eq!(fs::read(ground.path("secret/key")).unwrap(), b"secret");
    assert_eq!(read(&mut grants, "link").unwrap(), b"plain");
}

#[test]
fn devices_fifos_and_sockets_are_never_opened() {
    let ground = Ground::new();
    let granted = ground.path("granted");
    let make = |name: &str, file_type| {
        rustix::fs::mknodat(
            CWD,
            granted.join(name),
            file_type,
            Mode::from_raw_mode(0o666),
            rustix::fs::makedev(1, 3),
        )
    };
    make("fifo", FileType::Fifo).unwrap();
    let _listener = UnixListener::bind(granted.join("socket")).unwrap();
    let mut names = vec!["fifo", "socket"];
    // Only root can make one, and not everywhere.
    if make("device", FileType::CharacterDevice).is_ok() {
        names.push("device");
    }
    // To be opened, even for a moment, is not without effect: on a FIFO's other end, or in a device.
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).unwrap();
    for name in &names {
        inotify::add_watch(&watch, granted.join(name), inotify::WatchFlags::OPEN).unwrap();
    }
    let mut events = [MaybeUninit::uninit(); 512];
    let mut events = inotify::Reader::new(&watch, &mut events);
    let mut grants = ground.granted();
    for name in names {
        for flags in
            [Flags::READ, Flags::WRITE, Flags::READ | CREATE | Flags::TRUNCATE, CREATE | Flags::APPEND]
        {
            assert_eq!(grants.open(path(name), flags).unwrap_err(), Error::NotRegular, "{name}, {flags:?}");
        }
        let directory = grants.open(path(name), Flags::READ | Flags::DIRECTORY);
        assert_eq!(directory.unwrap_err(), Error::NotDirectory, "{name}");
        assert_eq!(grants.stat_path(path(name)), Ok(Info { kind: Kind::Other, size: 0 }));
    }
    assert_eq!(events.next().unwrap_err(), Errno::AGAIN);
    drop(fs::OpenOptions::new().read(true).write(true).open(granted.join("fifo")).unwrap());
    assert!(events.next().is_ok(), "the watch is of use");
}

#[test]
fn magic_links_are_not_followed() {
    let link = Grant::parse(OsStr::new("/proc/self")).unwrap();
    let mut grants = Grants::open([link], Limits::default()).unwrap();
    for name in ["root/etc/passwd", "cwd/Cargo.toml", "fd/0", "exe"] {
        let answer = grants.open(path(name), Flags::READ).unwrap_err();
        assert_eq!(answer, Error::Outside, "{name}");
    }
    // What is no magic link is a file like others.
    assert!(read(&mut grants, "comm").is_ok());
}

/// Somebody exchanges a directory and a link to the secret, and a file and a link to the secret one, as fast as they
/// can. Whatever the remote is told, it is never about the secret.
#[test]
fn exchanging_names_does_not_lead_out() {
    let ground = Ground::new();
    let granted = ground.path("granted");
    fs::create_dir_all(granted.join("names/sub")).unwrap();
    for name in ["names/key", "names/sub/key"] {
        fs::write(granted.join(name), "public").unwrap();
    }
    symlink("../../secret", granted.join("names/out")).unwrap();
    symlink("../../secret/key", granted.join("names/out-key")).unwrap();
    symlink("sub/../sub/../sub/../key", granted.join("names/winding")).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (names, stopped) = (granted.join("names"), Arc::clone(&stop));
    let swapper = thread::spawn(move || {
        let exchange = |a: &str, b: &str| {
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            rustix::fs::renameat_with(CWD, names.join(a), CWD, names.join(b), flags).unwrap();
        };
        let mut count = 0;
        while !stopped.load(Ordering::Relaxed) {
            exchange("sub", "out");
            exchange("key", "out-key");
            count += 1;
        }
        count
    });
    let secret = fs::metadata(ground.path("secret/key")).unwrap();
    let mut grants = ground.limited(Limits { made: u32::MAX, ..Limits::default() });
    let mut outcomes = BTreeMap::new();
    // Both names have to be met in both states, or this has shown nothing.
    let expected = ["names/sub/key", "names/key", "names/out/key"]
        .map(|name| ["Ok(())", "Err(Outside)"].map(|outcome| format!("{name} {outcome}")));
    let mut round = 0;
    while round < 6000 || !expected.iter().flatten().all(|outcome| outcomes.contains_key(outcome)) {
        round += 1;
        assert!(round < 1_000_000, "{outcomes:?}");
        for name in ["names/sub/key", "names/key", "names/winding", "names/out/key"] {
            let opened = grants.open(path(name), Flags::READ | Flags::WRITE);
            let outcome = opened.map(|mut file| {
                let stat = rustix::fs::fstat(&file.fd).unwrap();
                assert_ne!((stat.st_dev, stat.st_ino), (secret.dev(), secret.ino()), "{name}");
                let mut bytes = [0; 16];
                let len = grants.read_at(&mut file, 0, &mut bytes).unwrap();
                assert_eq!(&bytes[..len], b"public", "{name}");
            });
            *outcomes.entry(format!("{name} {outcome:?}")).or_insert(0) += 1;
        }
        let _ = grants.make_directory(path("names/sub/made"));
        let _ = grants.remove(path("names/sub/made"));
        let _ = write(&mut grants, "names/sub/new", CREATE, b"x");
        let _ = grants.rename(path("names/sub/new"), path("names/out/new"));
        assert_eq!(fs::read_dir(ground.path("secret")).unwrap().count(), 1);
    }
    stop.store(true, Ordering::Relaxed);
    assert!(swapper.join().unwrap() > 100);
    // Nor does it keep the remote from its files.
    assert!(!outcomes.keys().any(|outcome| outcome.contains("Busy")), "{outcomes:?}");
    assert_eq!(fs::read(ground.path("secret/key")).unwrap(), b"secret");
}

/// A remote that tries names at random, those that lead out among them, and moves them about.
#[test]
fn no_sequence_of_requests_leads_out() {
    const NAMES: [&str; 12] =
        ["a", "b", "c", "up", "far", "root", "cwd", "dangling", "key", "plain", ".", ""];
    let ground = Ground::new();
    let granted = fs::canonicalize(ground.path("granted")).unwrap();
    let secret = ground.path("secret");
    for (name, target) in [
        ("up", OsStr::new("../secret")),
        ("far", OsStr::new("../../../../../../../..")),
        ("root", OsStr::new("/")),
        ("cwd", OsStr::new("/proc/self/cwd")),
        ("dangling", OsStr::new("a/b/../../../secret/new")),
        ("c", secret.as_os_str()),
    ] {
        symlink(target, granted.join(name)).unwrap();
    }
    let mut grants = ground.granted();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut inside = 0;
    for _ in 0..20_000 {
        let mut name = || {
            let names: Vec<&str> = (0..=random(4)).map(|_| NAMES[random(NAMES.len())]).collect();
            names.join("/")
        };
        let (from, to) = (name(), name());
        let (Ok(from), Ok(to)) = (Path::new(from.as_bytes()), Path::new(to.as_bytes())) else { continue };
        let done = match random(6) {
            0 => grants.remove(from).is_ok(),
            1 => grants.rename(from, to).is_ok(),
            2 => grants.make_directory(from).is_ok(),
            3 => grants.stat_path(from).is_ok(),
            _ => {
                let flags = Flags::from_bits(random(128) as u16);
                let opened = if flags.are_valid() { grants.open(from, flags).ok() } else { None };
                if let Some(file) = &opened {
                    let really = fs::read_link(link_to(&file.fd)).unwrap();
                    assert!(really.starts_with(&granted), "{from} is {}", really.display());
                }
                opened.is_some()
            }
        };
        inside += usize::from(done);
    }
    assert!(inside > 1000, "{inside} requests that succeeded say little");
    let left = |directory: &HostPath| {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(
        (left(&ground.0), left(&secret)),
        (vec!["granted".into(), "secret".into()], vec!["key".into()])
    );
    assert_eq!(fs::read(secret.join("key")).unwrap(), b"secret");
}

//! Each test has a directory of its own with `granted` (which is) and `secret` (which is not) in it.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    process,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;

mod hostile;

struct Ground(PathBuf);

impl Ground {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let ground = Ground(env::temp_dir().join(format!("sidecore-grants-{}-{count}", process::id())));
        for directory in ["granted", "secret"] {
            fs::create_dir_all(ground.path(directory)).unwrap();
        }
        fs::write(ground.path("secret/key"), "secret").unwrap();
        fs::write(ground.path("granted/plain"), "plain").unwrap();
        ground
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn grant(&self, rest: &str) -> Grant {
        format!("{}/{rest}", self.0.display()).parse().unwrap()
    }

    fn granted(&self) -> Grants {
        self.limited(Limits::default())
    }

    fn limited(&self, limits: Limits) -> Grants {
        Grants::open([self.grant("granted")], limits).unwrap()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

const CREATE: Flags = Flags::WRITE.and(Flags::CREATE);

fn path(text: &str) -> Path<'_> {
    Path::new(text.as_bytes()).unwrap()
}

fn read(grants: &mut Grants, name: &str) -> Result<Vec<u8>, Error> {
    let mut file = grants.open(path(name), Flags::READ)?;
    let mut bytes = [0; 64];
    let len = grants.read_at(&mut file, 0, &mut bytes)?;
    Ok(bytes[..len].to_vec())
}

fn write(grants: &mut Grants, name: &str, flags: Flags, bytes: &[u8]) -> Result<usize, Error> {
    let mut file = grants.open(path(name), flags)?;
    grants.write_at(&mut file, 0, bytes)
}

/// Everything that can be tried with a name that leads out, or to what is none of a remote's business.
fn try_all(grants: &mut Grants, name: &str) -> [Result<(), Error>; 6] {
    [
        grants.open(path(name), Flags::READ).map(drop),
        grants.open(path(name), Flags::WRITE | Flags::TRUNCATE).map(drop),
        grants.open(path(name), CREATE).map(drop),
        grants.open(path(name), Flags::READ | Flags::DIRECTORY).map(drop),
        grants.stat_path(path(name)).map(drop),
        grants.open(path(&format!("{name}/key")), CREATE).map(drop),
    ]
}

#[test]
fn files_are_made_written_read_and_listed() {
    let ground = Ground::new();
    let mut grants = ground.granted();
    assert_eq!(read(&mut grants, "plain").unwrap(), b"plain");
    assert_eq!(read(&mut grants, "./././/plain").unwrap(), b"plain");
    grants.make_directory(path("a")).unwrap();
    assert_eq!(write(&mut grants, "a/new", CREATE, b"new one"), Ok(7));
    assert_eq!(fs::read(ground.path("granted/a/new")).unwrap(), b"new one");
    assert_eq!(write(&mut grants, "a/new", Flags::WRITE | Flags::TRUNCATE, b"N"), Ok(1));
    assert_eq!(write(&mut grants, "a/new", Flags::WRITE | Flags::APPEND, b"ext"), Ok(3));
    assert_eq!(read(&mut grants, "a/new").unwrap(), b"Next");
    assert_eq!(grants.stat_path(path("a/new")), Ok(Info { kind: Kind::File, size: 4 }));
    assert_eq!(grants.stat_path(path(".")), Ok(Info { kind: Kind::Directory, size: 0 }));
    grants.rename(path("a/new"), path("b")).unwrap();
    assert_eq!(grants.remove(path("a")), Ok(()));
    let mut file = grants.open(path("b"), Flags::READ | Flags::WRITE).unwrap();
    assert_eq!(grants.stat(&mut file), Ok(Info { kind: Kind::File, size: 4 }));
    assert_eq!(grants.sync(&mut file), Ok(()));
    assert_eq!(grants.remove(path("b")), Ok(()));
    assert_eq!(grants.stat_path(path("b")), Err(Error::NotFound));
}

#[test]
fn errors_say_what_is_there_instead() {
    let ground = Ground::new();
    let mut grants = ground.granted();
    let long = "x".repeat(256);
    fs::create_dir(ground.path("granted/full")).unwrap();
    fs::write(ground.path("granted/full/file"), "").unwrap();
    let open = |grants: &mut Grants, name, flags| grants.open(path(name), flags).map(drop);
    assert_eq!(open(&mut grants, "none", Flags::READ), Err(Error::NotFound));
    assert_eq!(open(&mut grants, "none/deeper", CREATE), Err(Error::NotFound));
    assert_eq!(open(&mut grants, "plain/deeper", CREATE), Err(Error::NotDirectory));
    assert_eq!(open(&mut grants, "plain", CREATE | Flags::EXCLUSIVE), Err(Error::Exists));
    assert_eq!(open(&mut grants, "full", Flags::READ), Err(Error::IsDirectory));
    assert_eq!(open(&mut grants, ".", Flags::READ), Err(Error::IsDirectory));
    assert_eq!(open(&mut grants, "full", Flags::WRITE), Err(Error::IsDirectory));
    assert_eq!(open(&mut grants, "plain", Flags::READ | Flags::DIRECTORY), Err(Error::NotDirectory));
    assert_eq!(open(&mut grants, &long, CREATE), Err(Error::PathTooLong));
    assert_eq!(grants.remove(path("full")), Err(Error::NotEmpty));
    assert_eq!(grants.remove(path("none")), Err(Error::NotFound));
    assert_eq!(grants.make_directory(path("full")), Err(Error::Exists));
    assert_eq!(grants.rename(path("full"), path("full/beneath")), Err(Error::NotPermitted));
    assert_eq!(grants.rename(path("none"), path("some")), Err(Error::NotFound));
    for top in [".", "./", "././."] {
        assert_eq!(grants.remove(path(top)), Err(Error::NotPermitted));
        assert_eq!(grants.make_directory(path(top)), Err(Error::NotPermitted));
        assert_eq!(grants.rename(path(top), path("new")), Err(Error::NotPermitted));
        assert_eq!(grants.rename(path("plain"), path(top)), Err(Error::NotPermitted));
    }
}

#[test]
fn directories_are_listed_page_by_page_to_the_end() {
    const COUNT: usize = 300;
    let ground = Ground::new();
    let mut names: Vec<_> = (0..COUNT).map(|i| format!("{i}-{}", "x".repeat(i % 200))).collect();
    for name in &names {
        fs::write(ground.path("granted").join(name), "").unwrap();
    }
    fs::create_dir(ground.path("granted/directory")).unwrap();
    symlink("plain", ground.path("granted/link")).unwrap();
    names.extend(["directory", "link", "plain"].map(String::from));
    let mut server = sidecore_services::file::Server::<Grants>::new(ground.granted());
    let mut seen = Vec::new();
    let mut out = [0; 496];
    server.answer(&[1, 0, 1, 0, 0, 2], &mut out).unwrap();
    server.answer(b"\x02\0\0\0\x41\0\0\0.", &mut out).unwrap();
    let mut request = [8, 0, 0, 0, out[4], out[5], out[6], out[7], 0, 0, 0, 0, 0, 0, 0, 0];
    loop {
        let page = server.answer(&request, &mut out).unwrap().unwrap();
        assert_eq!(page[1], 0);
        let entries = sidecore_services::file::Entries::parse(&page[4..]).unwrap();
        let Some(last) = entries.iter().last() else { break };
        request[8..].copy_from_slice(&last.next.to_le_bytes());
        seen.extend(entries.iter().map(|entry| {
            let kind = match entry.name {
                b"directory" => Kind::Directory,
                b"link" => Kind::Other,
                _ => Kind::File,
            };
            assert_eq!(entry.kind, kind, "{entry:?}");
            String::from_utf8(entry.name.to_vec()).unwrap()
        }));
    }
    seen.sort();
    names.sort();
    assert_eq!(seen, names);
    for position in [1, 77, u64::from(u32::MAX), i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        request[8..].copy_from_slice(&position.to_le_bytes());
        assert!(server.answer(&request, &mut out).unwrap().is_some());
    }
}

#[test]
fn read_only_directories_stay_as_they_are() {
    let ground = Ground::new();
    let mut grants =
        Grants::open([ground.grant("granted:in:ro"), ground.grant("secret:out")], Limits::default()).unwrap();
    assert_eq!(read(&mut grants, "in/plain").unwrap(), b"plain");
    for flags in [Flags::WRITE, CREATE, Flags::WRITE | Flags::READ, Flags::WRITE | Flags::TRUNCATE] {
        assert_eq!(grants.open(path("in/plain"), flags).unwrap_err(), Error::ReadOnly, "{flags:?}");
        assert_eq!(grants.open(path("in/new"), flags).unwrap_err(), Error::ReadOnly, "{flags:?}");
    }
    assert_eq!(grants.remove(path("in/plain")), Err(Error::ReadOnly));
    assert_eq!(grants.make_directory(path("in/new")), Err(Error::ReadOnly));
    assert_eq!(grants.rename(path("in/plain"), path("out/plain")), Err(Error::ReadOnly));
    assert_eq!(grants.rename(path("out/key"), path("in/plain")), Err(Error::ReadOnly));
    assert_eq!(fs::read_dir(ground.path("granted")).unwrap().count(), 1);
    assert_eq!(fs::read(ground.path("granted/plain")).unwrap(), b"plain");
}

#[test]
fn the_closest_directory_serves_a_path() {
    let ground = Ground::new();
    fs::create_dir(ground.path("granted/a")).unwrap();
    fs::write(ground.path("granted/a/key"), "other").unwrap();
    let grants = [ground.grant("granted"), ground.grant("secret:a/b")];
    let mut grants = Grants::open(grants, Limits::default()).unwrap();
    assert_eq!(read(&mut grants, "a/b/key").unwrap(), b"secret");
    assert_eq!(read(&mut grants, "a/./b//key").unwrap(), b"secret");
    assert_eq!(read(&mut grants, "a/key").unwrap(), b"other");
    assert_eq!(grants.open(path("a/bb"), Flags::READ).unwrap_err(), Error::NotFound);
    assert_eq!(grants.remove(path("a/b")), Err(Error::NotPermitted));
    let guests: Vec<_> = grants.iter().map(Grant::guest).collect();
    assert_eq!(guests, ["a/b", "."]);
}

#[test]
fn nothing_granted_is_nothing_found() {
    let ground = Ground::new();
    let mut grants = Grants::open([], Limits::default()).unwrap();
    for result in try_all(&mut grants, "plain").into_iter().chain(try_all(&mut grants, "tmp")) {
        assert_eq!(result, Err(Error::Outside));
    }
    let mut grants = Grants::open([ground.grant("granted:data")], Limits::default()).unwrap();
    for name in [".", "dat", "datas", "plain"] {
        assert_eq!(grants.open(path(name), Flags::READ).unwrap_err(), Error::Outside, "{name}");
    }
}

#[test]
fn a_directory_that_was_granted_is_meant_even_when_its_name_is_not() {
    let ground = Ground::new();
    let mut grants = ground.granted();
    fs::rename(ground.path("granted"), ground.path("moved")).unwrap();
    fs::rename(ground.path("secret"), ground.path("granted")).unwrap();
    assert_eq!(read(&mut grants, "plain").unwrap(), b"plain");
    assert_eq!(read(&mut grants, "key").unwrap_err(), Error::NotFound);
    // For the ground to be cleared.
    fs::rename(ground.path("granted"), ground.path("secret")).unwrap();
}

#[test]
fn limits_hold() {
    let ground = Ground::new();
    let mut grants = ground.limited(Limits { file_size: 10, written: 16, made: 2 });
    let mut file = grants.open(path("plain"), Flags::WRITE).unwrap();
    assert_eq!(grants.write_at(&mut file, 8, b"abcd"), Ok(2));
    for offset in [10, 11, i64::MAX as u64, u64::MAX] {
        assert_eq!(grants.write_at(&mut file, offset, b"a"), Err(Error::TooLarge), "{offset}");
    }
    let mut end = grants.open(path("plain"), Flags::WRITE | Flags::APPEND).unwrap();
    assert_eq!(grants.write_at(&mut end, 0, b"a"), Err(Error::TooLarge));
    assert_eq!(write(&mut grants, "one", CREATE, b"12345678"), Ok(8));
    assert_eq!(write(&mut grants, "plain", Flags::WRITE, b"12345678"), Ok(6));
    assert_eq!(write(&mut grants, "plain", Flags::WRITE, b"1"), Err(Error::NoSpace));
    assert_eq!(grants.make_directory(path("two")), Ok(()));
    assert_eq!(grants.make_directory(path("three")), Err(Error::NoSpace));
    assert_eq!(grants.open(path("three"), CREATE).unwrap_err(), Error::NoSpace);
    // What is there already is not made.
    assert!(grants.open(path("one"), CREATE).is_ok());
    assert_eq!(fs::metadata(ground.path("granted/plain")).unwrap().len(), 10);
}

#[test]
fn what_this_user_may_not_do_is_not_done_for_a_remote() {
    let ground = Ground::new();
    fs::set_permissions(ground.path("granted/plain"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::create_dir(ground.path("granted/closed")).unwrap();
    fs::set_permissions(ground.path("granted/closed"), fs::Permissions::from_mode(0o555)).unwrap();
    let mut grants = ground.granted();
    let (opened, made) = (grants.open(path("plain"), Flags::READ), grants.make_directory(path("closed/new")));
    if rustix::process::geteuid().is_root() {
        assert!(opened.is_ok() && made.is_ok(), "root may do everything");
    } else {
        assert_eq!(opened.unwrap_err(), Error::NotPermitted);
        assert_eq!(made, Err(Error::NotPermitted));
    }
    fs::set_permissions(ground.path("granted/closed"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn directories_that_do_not_go_together_are_refused() {
    let ground = Ground::new();
    fs::create_dir(ground.path("granted/sub")).unwrap();
    symlink("granted/sub", ground.path("alias")).unwrap();
    let open =
        |grants: &[&str]| Grants::open(grants.iter().map(|grant| ground.grant(grant)), Limits::default());
    assert!(
        matches!(open(&["none"]), Err(GrantError::Open { source, .. }) if source.kind() == std::io::ErrorKind::NotFound)
    );
    let file = open(&["granted/plain"]);
    assert!(
        matches!(file, Err(GrantError::Open { source, .. }) if source.kind() == std::io::ErrorKind::NotADirectory)
    );
    assert!(matches!(open(&["granted", "secret"]), Err(GrantError::SameGuest { .. })));
    assert!(matches!(open(&["granted:a", "secret:./a/"]), Err(GrantError::SameGuest { .. })));
    for read_only in ["granted/sub", "alias", "granted"] {
        let pair = [&*format!("{read_only}:in:ro"), "granted:out"];
        assert!(matches!(open(&pair), Err(GrantError::Writable { .. })), "{read_only}");
        assert!(matches!(open(&[pair[1], pair[0]]), Err(GrantError::Writable { .. })), "{read_only}");
    }
    // The other way round, more is granted of a part.
    assert!(open(&["granted:in:ro", "granted/sub:out"]).is_ok());
}

#[test]
fn nothing_stays_open() {
    let ground = Ground::new();
    let granted = fs::canonicalize(ground.path("granted")).unwrap();
    let open_here = || {
        let links =
            fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
        links.filter(|target| target.starts_with(&granted)).count()
    };
    let mut grants = ground.granted();
    assert_eq!(open_here(), 1);
    let file = grants.open(path("plain"), Flags::READ).unwrap();
    assert_eq!(open_here(), 2);
    drop(file);
    let _ = grants.open(path("."), Flags::READ);
    let _ = grants.rename(path("plain"), path("none/plain"));
    drop(grants);
    assert_eq!(open_here(), 0);
}

//! The sandbox against firmware, peers and machines that mean it no good.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used)]

mod bench;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use bench::code::nr;
use bench::*;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use sidecore_backends::sandbox::{Config, Confinement, Lifetime, Sandbox};
use sidecore_mem::DeviceAddr;
use sidecore_os::Channel;
use sidecore_remoteproc::{Backend, BackendError, Boot, CrashKind, Doorbell, Event};
use sidecore_wire::sandbox as layout;

const GO: u64 = DATA + 0x100;
const SEEN: u64 = DATA + 0x104;

/// Works until it is told to exit.
fn working(_: u64) -> Code {
    let code = Code::new().store(SEEN, 0x5ee);
    let again = code.here();
    code.increment(DATA).jump_if_zero(GO, again).exit(9)
}

/// The remote works, and ends when it is told to.
fn assert_works(sandbox: &mut Sandbox) {
    let count = load32(sandbox, DATA);
    until("it works", || load32(sandbox, DATA) != count);
    store32(sandbox, GO, 1);
    assert_eq!(end(sandbox), Event::Exited { code: 9 });
}

#[test]
fn firmware_that_scribbles_over_its_hand_over_page_harms_itself_alone() {
    let dir = Dir::new();
    for pattern in [0xffff_ffff_u32, 0x4141_4141, 1, 0x8000_0000] {
        let mut sandbox = run(dir.config(), |page| {
            let page =
                (0..layout::SIZE as u64 / 4).fold(Code::new(), |code, n| code.store(page + 4 * n, pattern));
            page.store(SEEN, 1).trap()
        });
        let crash = crash(&mut sandbox);
        // A record of one byte is one; those that are too long are none.
        let record = (pattern == 1).then(|| "\\u{1}".to_owned());
        let kind = if record.is_some() { CrashKind::Abort } else { CrashKind::IllegalInstruction };
        assert_eq!((crash.kind, crash.allegation), (kind, record));
        sandbox.doorbell().ring(0);
        sandbox.stop().unwrap();
        start(&mut sandbox, working);
        assert_works(&mut sandbox);
    }
}

#[test]
fn kicks_without_end_hide_neither_a_crash_nor_the_time() {
    let dir = Dir::new();
    let mut sandbox = run(dir.config(), |_| {
        let code = Code::new().store(DATA + 0x200, 1);
        let again = code.here();
        code.call(nr::WRITE, [4, DATA + 0x200, 8]).jump_if_zero(GO, again).read_far(0)
    });
    for _ in 0..1000 {
        assert_eq!(sandbox.wait(Some(PATIENCE), &mut || false), Ok(Some(Event::Kick)));
    }
    store32(&sandbox, GO, 1);
    // Rings that hold something for ever, as a hostile remote's would.
    let crash = loop {
        match sandbox.wait(None, &mut || true).unwrap() {
            Some(Event::Kick) => std::thread::yield_now(),
            other => break other,
        }
    };
    assert!(matches!(crash, Some(Event::Crashed(_))), "{crash:?}");
}

#[test]
fn a_doorbell_that_is_rung_full_still_rings() {
    let dir = Dir::new();
    let mut sandbox = run(dir.config(), |_| {
        // The most that an eventfd holds; one more is refused, and the firmware goes on.
        Code::new()
            .store(DATA + 0x200, 0xffff_fffe)
            .store(DATA + 0x204, 0xffff_ffff)
            .call(nr::WRITE, [4, DATA + 0x200, 8])
            .call(nr::WRITE, [4, DATA + 0x200, 8])
            .store(DATA + 0x200, 1)
            .store(DATA + 0x204, 0)
            .call(nr::WRITE, [4, DATA + 0x200, 8])
            .exit(0)
    });
    assert_eq!(sandbox.wait(Some(PATIENCE), &mut || false), Ok(Some(Event::Kick)));
    assert_eq!(end(&mut sandbox), Event::Exited { code: 0 });
}

#[test]
fn firmware_that_pretends_to_sleep_costs_a_system_call_a_ring_and_no_more() {
    let dir = Dir::new();
    let mut sandbox = run(dir.config(), |page| {
        let code = Code::new().store(page + layout::REMOTE_ASLEEP as u64, 1);
        let again = code.here();
        code.store(SEEN, 1).jump_if_zero(GO, again).exit(0)
    });
    until("it runs", || load32(&sandbox, SEEN) == 1);
    let bell = sandbox.doorbell();
    (0..10_000).for_each(|_| bell.ring(0));
    store32(&sandbox, GO, 1);
    assert_eq!(end(&mut sandbox), Event::Exited { code: 0 });
}

/// A connection to the warden's socket, without its protocol.
fn knock(dir: &Dir, name: &str) -> Option<Channel> {
    let open = std::fs::File::open(dir.path()).unwrap();
    Channel::connect(open.as_fd(), &sockets([name])[0]).ok()
}

#[test]
fn peers_that_send_garbage_or_flood_the_socket_disturb_nobody() {
    let dir = Dir::new();
    let config = Config { lifetime: Lifetime::Detached, ..dir.named("target") };
    let sandbox = run(config, working);
    let null = std::fs::File::open("/dev/null").unwrap();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut silent = Vec::new();
    for round in 0..500 {
        let Some(peer) = knock(&dir, "target") else { continue };
        let len = 1 + random() as usize % if round % 10 == 0 { 60_000 } else { 64 };
        // Some begin like true requests.
        let mut bytes: Vec<_> = (0..len).map(|_| random() as u8).collect();
        bytes[0] = if round % 3 == 0 { 1 + (random() % 7) as u8 } else { bytes[0] };
        let _ = match round % 4 {
            0 => Ok(()),
            1 => peer.send(&bytes, &[null.as_fd(); 4]),
            2 => peer.send(&[6, 0, 0, 0, 0], &[]), // an `Attach` of version 0
            _ => peer.send(&bytes, &[]),
        };
        silent.push(peer);
        silent.truncate(100);
    }
    let count = load32(&sandbox, DATA);
    until("it works", || load32(&sandbox, DATA) != count);
    drop(sandbox);
    // Those who keep silent do not keep a main side out.
    let mut sandbox = Sandbox::find(dir.named("target")).unwrap();
    sandbox.attach().unwrap();
    let warden = pid("target", "warden");
    let open = std::fs::read_dir(format!("/proc/{warden}/fd")).unwrap().count();
    assert!(open < 40, "the warden has {open} descriptors open");
    assert_works(&mut sandbox);
}

#[test]
fn a_peer_of_another_version_is_told_so() {
    let dir = Dir::new();
    let _sandbox = run(dir.named("versed"), working);
    let peer = knock(&dir, "versed").unwrap();
    peer.send(&[6, 0xff, 0xff, 0, 0], &[]).unwrap();
    assert!(peer.wait(Some(std::time::Instant::now() + PATIENCE)).unwrap());
    let mut answer = [0; 256];
    let len = peer.receive(&mut answer).unwrap().unwrap().len;
    let answer = String::from_utf8_lossy(&answer[..len]);
    assert!(answer.contains("speaks version 4, not 65535"), "{answer}");
}

#[test]
fn runtime_directories_that_cannot_be_trusted_are_refused_with_the_reason() {
    let dir = Dir::new();
    let reason = |path: &Path| {
        let config = Config { name: Some("x".to_owned()), runtime_dir: Some(path.to_owned()), ..config() };
        Sandbox::new(config).err().unwrap().to_string()
    };
    let inside = |name: &str| dir.path().join(name);
    std::fs::write(inside("file"), "").unwrap();
    assert!(reason(&inside("file")).contains("it is no directory"), "{}", reason(&inside("file")));
    std::fs::create_dir(inside("open")).unwrap();
    std::fs::set_permissions(inside("open"), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(reason(&inside("open")).contains("others may write to it (mode 777)"));
    std::fs::create_dir(inside("good")).unwrap();
    symlink(inside("good"), inside("link")).unwrap();
    assert!(reason(&inside("link")).contains("it is no directory"));
    assert!(reason(Path::new("/proc/self/fdinfo")).contains("/proc/self/fdinfo"));
    if !rustix::process::geteuid().is_root() {
        assert!(reason(Path::new("/")).contains("belongs to user 0"));
        std::fs::set_permissions(inside("good"), std::fs::Permissions::from_mode(0o500)).unwrap();
        assert!(reason(&inside("good")).contains("we may not write to it"));
    }
}

#[test]
fn a_missing_runtime_directory_is_made_for_this_user_alone() {
    let dir = Dir::new();
    let path = dir.path().join("a/b");
    let sandbox = Sandbox::new(Config { runtime_dir: Some(path.clone()), ..dir.named("deep") }).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    let socket = std::fs::metadata(path.join(&sockets(["deep"])[0])).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    drop(sandbox);
    assert_eq!(std::fs::read_dir(path).unwrap().count(), 0);
}

#[test]
fn a_deep_runtime_directory_is_no_problem() {
    let dir = Dir::new();
    let path = (0..20).fold(dir.path().to_owned(), |path, _| path.join("longer-than-sockets-may-be"));
    drop(run(Config { runtime_dir: Some(path), ..config() }, working));
}

/// Runs one of the tests here again with other environment variables.
fn again(test: &str, wrapper: &[&str], environment: &[(&str, &str)]) -> Option<String> {
    let own = std::env::current_exe().unwrap();
    let mut command = match wrapper {
        [] => Command::new(&own),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(&own);
            command
        }
    };
    command.args(["--exact", test, "--nocapture"]).env_remove("XDG_RUNTIME_DIR").env_remove("HOME");
    let output = command.envs(environment.iter().copied()).output().ok()?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success() && text.contains("1 passed")).then_some(text)
}

/// A remote with the directories that the environment says, and what is known of it. By itself, with the usual ones;
/// other tests start this one with others, which may be refused.
#[test]
fn as_the_environment_says() {
    let dir = std::env::var_os("SIDECORE_TEST_DIR").map(Into::into);
    let name = std::env::var("SIDECORE_TEST_NAME").ok();
    let may_be_refused = name.is_some();
    match Sandbox::new(Config { runtime_dir: dir, name, ..config() }) {
        Ok(mut sandbox) => {
            prepare(&mut sandbox);
            start(&mut sandbox, |_| Code::new().exit(0));
            println!("findings: {:?}", sandbox.findings());
            assert_eq!(end(&mut sandbox), Event::Exited { code: 0 });
        }
        Err(error) => {
            assert!(may_be_refused, "{error}");
            println!("refused: {error}");
        }
    }
}

#[test]
fn without_any_directory_in_the_environment_there_is_one_under_tmp_or_run() {
    let test = "as_the_environment_says";
    for environment in [&[][..], &[("XDG_RUNTIME_DIR", "/proc/nowhere")], &[("XDG_RUNTIME_DIR", "relative")]]
    {
        let text = again(test, &[], environment).expect("a remote that runs");
        assert!(text.contains("findings") && !text.contains("nobody can attach"), "{text}");
    }
}

#[test]
fn a_starter_that_ignores_the_ends_of_children_has_remotes_all_the_same() {
    let wrapper = ["sh", "-c", r#"trap '' CHLD PIPE; exec "$@""#, "sh"];
    let text = again("as_the_environment_says", &wrapper, &[]).expect("a remote that runs");
    assert!(text.contains("findings"), "{text}");
}

/// A script that mounts a small file system where the first argument says and runs the rest.
const MOUNT: &str = r#"mount -t tmpfs -o "$0" sidecore-test "$1" && shift && exec "$@""#;

/// Runs `as_the_environment_says` on a file system with these mount options; `None` where this user may not mount.
fn on_file_system(options: &str, name: Option<&str>) -> Option<String> {
    let dir = Dir::new();
    let path = dir.path().to_str().unwrap();
    let wrapper = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT, options, path];
    let probe = Command::new("unshare").args(&wrapper[1..]).arg("true").output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("NOT TRIED: this user may not mount anything ({options})");
        return None;
    }
    let mut environment = vec![("SIDECORE_TEST_DIR", path)];
    environment.extend(name.map(|name| ("SIDECORE_TEST_NAME", name)));
    Some(again("as_the_environment_says", &wrapper, &environment).expect("a test that passes"))
}

#[test]
fn a_full_runtime_directory_is_an_error_for_remotes_with_a_name_alone() {
    let Some(text) = on_file_system("nr_inodes=1,mode=700", Some("named")) else { return };
    assert!(text.contains("refused: listen for the remote \"named\"") && text.contains("full"), "{text}");
    let text = on_file_system("nr_inodes=1,mode=700", None).unwrap();
    assert!(text.contains("findings: [\"nobody can attach") && text.contains("full"), "{text}");
}

#[test]
fn a_runtime_directory_mounted_noexec_or_read_only_is_no_obstacle() {
    let Some(text) = on_file_system("noexec,mode=700", Some("named")) else { return };
    assert!(text.contains("findings: [\"Landlock"), "nothing is executed from there: {text}");
    let text = on_file_system("ro,mode=700", None).unwrap();
    assert!(text.contains("nobody can attach"), "{text}");
}

/// Runs `test` in a thread, and so with wardens and remotes, for which a system call fails with this error where its
/// arguments have these bits.
fn without(call: i64, bits: &'static [(u8, i32)], errno: i32, test: impl FnOnce() + Send + 'static) {
    let result = std::thread::spawn(move || {
        let conditions = bits.iter().map(|(argument, bits)| {
            let bits = *bits as u64;
            SeccompCondition::new(*argument, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(bits), bits)
                .unwrap()
        });
        let conditions: Vec<_> = conditions.collect();
        let rules = if bits.is_empty() { vec![] } else { vec![SeccompRule::new(conditions).unwrap()] };
        let filter = SeccompFilter::new(
            BTreeMap::from([(call, rules)]),
            SeccompAction::Allow,
            SeccompAction::Errno(errno as u32),
            std::env::consts::ARCH.try_into().unwrap(),
        );
        let program: BpfProgram = filter.unwrap().try_into().unwrap();
        seccompiler::apply_filter(&program).unwrap();
        test();
    })
    .join();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// A remote that runs and says this of its confinement.
fn runs_and_finds(part: &'static str) -> impl FnOnce() + Send {
    move || {
        let dir = Dir::new();
        let mut sandbox = run(dir.config(), working);
        assert!(sandbox.findings().iter().any(|finding| finding.contains(part)), "{:?}", sandbox.findings());
        assert_works(&mut sandbox);
    }
}

#[test]
fn a_kernel_without_landlock_is_a_finding() {
    without(
        libc::SYS_landlock_create_ruleset,
        &[],
        libc::ENOSYS,
        runs_and_finds("no Landlock in this kernel"),
    );
    without(libc::SYS_landlock_create_ruleset, &[], libc::EOPNOTSUPP, runs_and_finds("switched off"));
    without(libc::SYS_landlock_restrict_self, &[], libc::EPERM, runs_and_finds("Landlock failed"));
}

#[test]
fn strict_confinement_needs_landlock() {
    let strict = || Config { confinement: Confinement::Strict, ..config() };
    let try_start = move || {
        let dir = Dir::new();
        let mut sandbox =
            Sandbox::new(Config { runtime_dir: Some(dir.path().to_owned()), ..strict() }).unwrap();
        prepare(&mut sandbox);
        sandbox.load(DeviceAddr(TEXT), &Code::new().exit(0).finish()).unwrap();
        sandbox.start(&Boot { entry: DeviceAddr(TEXT), table: None })
    };
    if let Err(error) = try_start() {
        assert!(error.to_string().contains("Landlock"), "a kernel without: {error}");
    }
    without(libc::SYS_landlock_create_ruleset, &[], libc::ENOSYS, move || {
        let error = try_start().unwrap_err();
        assert!(error.to_string().contains("enforce Landlock, which is asked for"), "{error}");
    });
}

#[test]
fn a_system_without_system_call_filters_runs_nothing() {
    without(libc::SYS_seccomp, &[], libc::EINVAL, || {
        let dir = Dir::new();
        let mut sandbox = Sandbox::new(dir.config()).unwrap();
        prepare(&mut sandbox);
        let boot = Boot { entry: DeviceAddr(TEXT), table: None };
        sandbox.load(DeviceAddr(TEXT), &Code::new().store(SEEN, 1).exit(0).finish()).unwrap();
        for _ in 0..2 {
            let error = sandbox.start(&boot).unwrap_err();
            let BackendError::System { operation, .. } = &error else { panic!("{error:?}") };
            assert_eq!(operation, "filter system calls (seccomp)");
            assert_eq!(processes(sandbox.name()).len(), 1, "the warden alone");
        }
        assert_eq!(load32(&sandbox, SEEN), 0);
    });
}

#[test]
fn a_system_that_lets_nobody_trace_is_a_finding_and_costs_addresses() {
    without(libc::SYS_ptrace, &[], libc::EPERM, || {
        runs_and_finds("no debug seat")();
        let dir = Dir::new();
        let ends = |code: fn(Code) -> Code| {
            let mut sandbox = run(dir.config(), |_| code(Code::new()));
            let crash = crash(&mut sandbox);
            assert_eq!((crash.pc, crash.registers), (None, None));
            (crash.kind, crash.signal)
        };
        assert_eq!(ends(|code| code.read_far(0)), (CrashKind::Other, 11));
        assert_eq!(ends(Code::trap), (CrashKind::IllegalInstruction, 4));
        assert_eq!(ends(|code| code.call(nr::GETPID, [0; 3])), (CrashKind::Other, 31));
        let mut hung = run(dir.config(), |page| {
            let code = Code::new().store(page + layout::WATCHDOG_PERIOD_MS as u64, 50);
            let again = code.here();
            code.jump(again)
        });
        assert_eq!(bench::crash(&mut hung).kind, CrashKind::Hang);
        // The remote dies with its warden all the same.
        let mut sandbox = run(dir.named("unseated"), working);
        let remote = pid("unseated", "remote");
        kill(pid("unseated", "warden"), rustix::process::Signal::KILL);
        until("the remote is gone", || state(remote).is_none());
        assert!(matches!(
            sandbox.wait(Some(PATIENCE), &mut || false),
            Err(BackendError::ExecutorLost { .. })
        ));
    });
}

#[test]
fn a_policy_against_executable_shared_memory_is_a_finding() {
    // PROT_EXEC alone would be libraries too; MAP_SHARED alone all of our memory.
    let bits = &[(2, libc::PROT_EXEC), (3, libc::MAP_SHARED)];
    without(libc::SYS_mmap, bits, libc::EACCES, runs_and_finds("\"text\" is a copy, made at the start"));
}

#[test]
fn older_kernels_do() {
    // Before 6.3: no MFD_NOEXEC_SEAL. Before 5.9: no close_range.
    without(libc::SYS_memfd_create, &[(1, 8)], libc::EINVAL, runs_and_finds("Landlock"));
    without(libc::SYS_close_range, &[], libc::ENOSYS, runs_and_finds("Landlock"));
}

#[test]
fn a_policy_about_memfds_is_kept_to() {
    // The strictest: memfds that could be executed are refused. It is a PID namespace's, and root's to set.
    let script = r#"echo 2 > /proc/sys/vm/memfd_noexec && exec "$@""#;
    let wrapper = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script, "sh"];
    let probe = Command::new("unshare").args(&wrapper[1..]).arg("true").output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("NOT TRIED: this user may not set vm.memfd_noexec");
        return;
    }
    let dir = Dir::new();
    let environment = [("SIDECORE_TEST_DIR", dir.path().to_str().unwrap())];
    let text = again("as_the_environment_says", &wrapper, &environment).expect("a remote that runs");
    assert!(text.contains("findings: [\"Landlock"), "{text}");
}

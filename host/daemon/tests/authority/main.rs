//! The daemon on a system's bus of its own: who may call what, and what becomes of nonsense. As root alone, for it takes
//! callers who are other users.
#![allow(clippy::unwrap_used, missing_docs, reason = "these are tests")]

mod system;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use roxmltree::{Document, ParsingOptions};
use sidecore_dbus::{MANAGER, NAME, PROCESSOR, ROOT, action};
use zbus::wire::StructureBuilder;
use zbus::{Connection, DBusError as _, Fd, OwnedObjectPath, OwnedVariant, Variant};

use self::system::{DAEMON, MEMBER, STRANGER, System};

const SOON: Duration = Duration::from_secs(20);

/// A method of one of the daemon's objects, as introspection tells.
#[derive(Clone, Debug)]
struct Method {
    path: String,
    interface: String,
    name: String,
    /// The signatures of what it takes.
    arguments: Vec<String>,
}

impl Method {
    fn action(&self) -> &'static str {
        let known = action::METHODS
            .iter()
            .find(|(interface, name, _)| *interface == self.interface && *name == self.name);
        known.unwrap_or_else(|| panic!("{}.{} is not in action::METHODS", self.interface, self.name)).2
    }

    /// What it might be given; options that none of them knows, so that it does nothing.
    fn harmless(&self, file: &impl AsFd) -> Vec<Variant<'static>> {
        let unknown = HashMap::from([("no-such-option", Variant::from(1_u32))]);
        self.arguments.iter().map(|signature| self.argument(signature, file, &unknown)).collect()
    }

    fn argument(
        &self,
        signature: &str,
        file: &impl AsFd,
        options: &HashMap<&'static str, Variant<'static>>,
    ) -> Variant<'static> {
        match signature {
            "s" => Variant::from("radio"),
            "u" => Variant::from(1_u32),
            "h" => Variant::from(Fd::from(file.as_fd().try_clone_to_owned().unwrap())),
            "a{sv}" => {
                let options: HashMap<_, _> =
                    options.iter().map(|(key, value)| (*key, value.try_clone().unwrap())).collect();
                Variant::from(options)
            }
            other => panic!("{}.{} takes {other}: give it some", self.interface, self.name),
        }
    }

    /// Calls it. An error has a name, and says something.
    async fn call(
        &self,
        caller: &Connection,
        arguments: Vec<Variant<'static>>,
    ) -> Result<(), (String, String)> {
        let body =
            arguments.into_iter().fold(StructureBuilder::new(), StructureBuilder::append_field).build();
        let (path, interface) = (self.path.as_str(), self.interface.as_str());
        let call = async {
            match body {
                Ok(body) => caller.call_method(Some(NAME), path, Some(interface), &*self.name, &body).await,
                Err(_) => caller.call_method(Some(NAME), path, Some(interface), &*self.name, &()).await,
            }
        };
        match tokio::time::timeout(SOON, call).await.unwrap_or_else(|_| panic!("no answer: {self:?}")) {
            Ok(_) => Ok(()),
            Err(zbus::Error::MethodError(name, text, _)) => Err((name.to_string(), text.unwrap_or_default())),
            Err(zbus::Error::FDO(error)) => {
                Err((error.name().to_string(), error.description().unwrap_or_default().to_owned()))
            }
            Err(error) => panic!("{self:?}: {error}"),
        }
    }

    /// Whether the caller may call it, and if not, that it is said why.
    async fn is_allowed(&self, caller: &Connection) -> bool {
        match self.call(caller, self.harmless(&File::open("/dev/null").unwrap())).await {
            Err((name, text)) if name.ends_with(".NotAuthorized") => {
                assert!(text.starts_with(&format!("{}: ", self.action())), "{self:?}: {text}");
                false
            }
            Err((name, text)) => {
                assert!(name.starts_with("org.sidecore.Sidecore1.Error."), "{self:?}: {name}: {text}");
                true
            }
            Ok(()) => {
                assert!(
                    !self.arguments.iter().any(|signature| signature == "a{sv}"),
                    "{self:?} takes any option"
                );
                true
            }
        }
    }
}

/// All methods of all objects.
async fn methods(caller: &Connection) -> Vec<Method> {
    let mut found = Vec::new();
    let mut paths = vec![ROOT.to_owned()];
    while let Some(path) = paths.pop() {
        let introspectable = Some("org.freedesktop.DBus.Introspectable");
        let answer = caller.call_method(Some(NAME), &*path, introspectable, "Introspect", &()).await.unwrap();
        let text: String = answer.body().deserialize().unwrap();
        let options = ParsingOptions { allow_dtd: true, ..Default::default() };
        let document = Document::parse_with_options(&text, options).unwrap();
        for node in document.root_element().children() {
            let name = node.attribute("name").unwrap_or_default();
            if node.has_tag_name("node") {
                paths.push(format!("{path}/{name}"));
            } else if node.has_tag_name("interface") && name.starts_with(NAME) {
                for method in node.children().filter(|child| child.has_tag_name("method")) {
                    let arguments = method.children().filter(|child| {
                        child.has_tag_name("arg") && child.attribute("direction") != Some("out")
                    });
                    found.push(Method {
                        path: path.clone(),
                        interface: name.to_owned(),
                        name: method.attribute("name").unwrap().to_owned(),
                        arguments: arguments.map(|arg| arg.attribute("type").unwrap().to_owned()).collect(),
                    });
                }
            }
        }
    }
    found
}

/// Something of everything: a remote, an endpoint of it, and a job on it.
struct Remote {
    path: OwnedObjectPath,
    endpoint: UnixDatagram,
}

impl Remote {
    async fn new(caller: &Connection, name: &str) -> Self {
        let target = Path::new(env!("CARGO_BIN_EXE_sidecored")).ancestors().nth(2).unwrap();
        let images = target.join(format!("images/{}-unknown-linux-gnu/release", std::env::consts::ARCH));
        let firmware = File::open(images.join("echo")).expect("`cargo xtask images` makes it");
        let none = HashMap::<&str, Variant<'_>>::new();
        let arguments = (name, Fd::from(&firmware), &none);
        let started = caller.call_method(Some(NAME), ROOT, Some(MANAGER), "Start", &arguments).await.unwrap();
        let path: OwnedObjectPath = started.body().deserialize().unwrap();
        let arguments = ("rpmsg-echo", &none);
        let opened = caller.call_method(Some(NAME), &path, Some(PROCESSOR), "OpenEndpoint", &arguments).await;
        let (fd, _, _): (zbus::OwnedFd, u32, u32) = opened.unwrap().body().deserialize().unwrap();
        let endpoint = UnixDatagram::from(OwnedFd::from(fd));
        endpoint.set_read_timeout(Some(SOON)).unwrap();
        let file = tempfile::tempfile().unwrap();
        let arguments = (Fd::from(&file), &none);
        caller.call_method(Some(NAME), &path, Some(PROCESSOR), "Dump", &arguments).await.unwrap();
        let remote = Self { path, endpoint };
        remote.is_well(caller).await;
        remote
    }

    /// Nothing happened to it.
    async fn is_well(&self, caller: &Connection) {
        self.endpoint.send(b"hello").unwrap();
        let mut answer = [0; 512];
        let len = self.endpoint.recv(&mut answer).unwrap();
        assert_eq!(&answer[..len], b"hello");
        let list = caller.call_method(Some(NAME), ROOT, Some(MANAGER), "ListProcessors", &()).await.unwrap();
        let list: Vec<OwnedObjectPath> = list.body().deserialize().unwrap();
        assert_eq!(list, std::slice::from_ref(&self.path));
    }
}

#[tokio::test]
async fn without_polkit_root_and_the_group_may_everything_and_everybody_else_nothing() {
    let Some(system) = System::new("group").await else { return };
    let (root, stranger) = (system.caller(0, &[]).await, system.stranger().await);
    let member = system.caller(MEMBER, &[MEMBER, DAEMON]).await;
    let remote = Remote::new(&root, "radio").await;
    let methods = methods(&stranger).await;
    let found: BTreeSet<_> = methods.iter().map(|method| (&*method.interface, &*method.name)).collect();
    let known = action::METHODS.iter().map(|(interface, method, _)| (*interface, *method));
    assert_eq!(found, known.collect());
    for method in &methods {
        assert!(!method.is_allowed(&stranger).await, "{method:?}");
        assert!(method.is_allowed(&member).await, "{method:?}");
        assert!(method.is_allowed(&root).await, "{method:?}");
    }
    let refusal = methods[0].call(&stranger, methods[0].harmless(&File::open("/dev/null").unwrap())).await;
    let (_, text) = refusal.unwrap_err();
    assert!(text.contains("no polkit") && text.contains("usermod -a -G sidecore"), "{text}");
    assert!(text.contains(&STRANGER.to_string()), "{text}");
    remote.is_well(&member).await;
}

/// Plays polkit.
#[derive(Clone, Default)]
struct Stub(Arc<Mutex<Says>>);

#[derive(Default)]
struct Says {
    /// The action that it allows.
    allows: String,
    /// Whether it would ask somebody for the others.
    challenges: bool,
    /// What it was asked: the subject's kind and name, the action, the flags.
    asked: Vec<(String, String, String, u32)>,
}

#[zbus::interface(name = "org.freedesktop.PolicyKit1.Authority")]
impl Stub {
    fn check_authorization(
        &self,
        subject: (String, HashMap<String, OwnedVariant>),
        action: String,
        _details: HashMap<String, String>,
        flags: u32,
        _cancellation: String,
    ) -> ((bool, bool, HashMap<String, String>),) {
        let mut says = self.0.lock().unwrap();
        let name = subject.1.get("name").map(|name| <&str>::try_from(name).unwrap().to_owned());
        let is_allowed = says.allows == action;
        says.asked.push((subject.0, name.unwrap_or_default(), action, flags));
        ((is_allowed, says.challenges && !is_allowed, HashMap::new()),)
    }
}

#[tokio::test]
async fn each_action_of_polkits_opens_its_methods_and_no_others() {
    let Some(system) = System::new("polkit").await else { return };
    let (root, stranger) = (system.caller(0, &[]).await, system.stranger().await);
    let member = system.caller(MEMBER, &[MEMBER, DAEMON]).await;
    let stub = Stub::default();
    root.object_server().at("/org/freedesktop/PolicyKit1/Authority", stub.clone()).await.unwrap();
    root.request_name("org.freedesktop.PolicyKit1").await.unwrap();
    let remote = Remote::new(&root, "radio").await;
    let methods = methods(&stranger).await;
    for allowed in action::ALL {
        stub.0.lock().unwrap().allows = allowed.to_owned();
        for method in &methods {
            assert_eq!(
                method.is_allowed(&stranger).await,
                method.action() == allowed,
                "{allowed}: {method:?}"
            );
        }
    }
    // Where polkit is, it decides of the group, too; root it is not asked of.
    let list = methods.iter().find(|method| method.name == "ListProcessors").unwrap();
    assert!(!list.is_allowed(&member).await);
    let asked = stub.0.lock().unwrap().asked.len();
    assert!(list.is_allowed(&root).await);
    assert_eq!(stub.0.lock().unwrap().asked.len(), asked);
    let name = member.unique_name().unwrap().to_string();
    let expected = ("system-bus-name".to_owned(), name, action::INSPECT.to_owned(), 0);
    assert_eq!(stub.0.lock().unwrap().asked.last(), Some(&expected));

    // Somebody is asked only where the caller consents to wait for it.
    stub.0.lock().unwrap().challenges = true;
    let (_, text) = list.call(&stranger, Vec::new()).await.unwrap_err();
    assert!(text.contains("allow-interactive-authorization"), "{text}");
    let call = zbus::message::Message::method_call(&*list.path, &*list.name)
        .destination(NAME)
        .interface(&*list.interface)
        .with_flags(zbus::message::Flags::ALLOW_INTERACTIVE_AUTH)
        .build(&());
    stranger.send(&call.unwrap()).await.unwrap();
    let begin = Instant::now();
    while stub.0.lock().unwrap().asked.last().unwrap().3 != 1 {
        assert!(begin.elapsed() < SOON, "the flag does not reach polkit");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    remote.is_well(&root).await;
}

#[tokio::test]
async fn the_name_is_the_daemons_alone() {
    let Some(system) = System::new("name").await else { return };
    for caller in [system.stranger().await, system.caller(0, &[]).await] {
        let error = caller.request_name(NAME).await.unwrap_err().to_string();
        assert!(error.contains("AccessDenied") || error.contains("not allowed"), "{error}");
    }
}

/// Descriptors that no method expects, by what they are.
fn descriptors() -> BTreeMap<&'static str, OwnedFd> {
    let open = |path: &str| OwnedFd::from(File::open(path).unwrap());
    let (pipe, _) = rustix::pipe::pipe().unwrap();
    let (_, full) = rustix::pipe::pipe().unwrap();
    let path = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::PATH.bits() as i32)
        .open("/etc/passwd");
    let (socket, _) = UnixDatagram::pair().unwrap();
    BTreeMap::from([
        ("a directory", open("/")),
        ("the reading end of a pipe", pipe),
        ("a pipe that nobody reads", full),
        ("an endless device", open("/dev/zero")),
        ("nothing but a path", path.unwrap().into()),
        ("a socket", socket.into()),
        ("an epoll", rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap()),
    ])
}

#[tokio::test]
async fn what_is_malformed_is_an_error_by_name_and_costs_nobody_anything() {
    let Some(system) = System::new("malformed").await else { return };
    let root = system.caller(0, &[]).await;
    let remote = Remote::new(&root, "radio").await;
    let null = File::open("/dev/null").unwrap();
    for method in methods(&root).await {
        let well = || method.harmless(&null);
        let mut long = well();
        long.push(Variant::from(1_u32));
        let mut bodies = vec![long];
        for at in 0..well().len() {
            let mut other = well();
            other[at] = Variant::from(vec![0.5_f64]);
            bodies.push(other);
            let mut short = well();
            short.truncate(at);
            bodies.push(short);
        }
        for body in bodies {
            let shown = format!("{body:?}");
            let Err((name, text)) = method.call(&root, body).await else {
                // One more than a method takes is nothing that it looks at, where it takes no options.
                assert!(method.arguments.is_empty(), "{method:?}: {shown}");
                continue;
            };
            assert!(name.contains(".Error."), "{method:?}: {name}: {text}");
        }
        if method.arguments.iter().any(|signature| signature == "h") {
            for (what, descriptor) in descriptors() {
                let none = HashMap::new();
                let arguments = method.arguments.iter();
                let arguments = arguments.map(|signature| match &**signature {
                    "s" => Variant::from("other"),
                    signature => method.argument(signature, &descriptor, &none),
                });
                let arguments = arguments.collect();
                let Err((name, text)) = method.call(&root, arguments).await else {
                    // What it cannot be written to is the job's to say.
                    assert_eq!(method.name, "Dump", "{method:?} takes {what}");
                    continue;
                };
                assert!(name.starts_with("org.sidecore.Sidecore1.Error."), "{what}: {name}: {text}");
            }
        }
    }
    remote.is_well(&root).await;
}

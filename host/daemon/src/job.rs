//! Work that takes longer than a call: each a process of its own, which can be killed and costs nobody anything.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sidecore_backends::sandbox::Halted;
use sidecore_dbus::{Error, ROOT};
use sidecore_os::{Channel, Child};
use sidecore_processor::dumps::write_plain;
use sidecore_remoteproc::coredump::Include;
use tokio::sync::{Semaphore, oneshot};
use zbus::OwnedObjectPath;

use crate::interface::job::Job;
use crate::keeper::protocol::Ask;
use crate::remote::Remote;
use crate::serve::{Details, House};

/// What the processes are called that do it.
const NAME: &str = "sidecore: job";

/// How long a process waits to be told what to do.
const TOLD: Duration = Duration::from_secs(20);

/// How long a job can be asked about after it ended.
const KEPT: Duration = Duration::from_secs(60);

/// How many there may be at a time.
const MOST: usize = 8;

static RUNNING: Semaphore = Semaphore::const_new(MOST);

/// Makes this process do a job if it was started for one, and never returns then.
pub(crate) fn hook() {
    if std::env::args_os().next().is_some_and(|name| name == NAME) {
        process::exit(i32::from(work().is_none()));
    }
}

/// What there is to do.
#[derive(Serialize, Deserialize)]
struct Order {
    /// The remote in a sandbox that is dumped.
    name: String,
    runtime_dir: PathBuf,
}

/// Does what comes over the standard input, and says over it how that ended.
fn work() -> Option<()> {
    let channel = Channel::from_stdin().ok()?;
    channel.wait(Some(Instant::now() + TOLD)).ok()?;
    let mut bytes = [0; 4096];
    let received = channel.receive(&mut bytes).ok()??;
    let order: Order = postcard::from_bytes(&bytes[..received.len]).ok()?;
    let file = File::from(received.fds.into_iter().next()?);
    let ended = write_dump(&order, &file);
    channel.send(&postcard::to_stdvec(&ended).ok()?, &[]).ok()
}

fn write_dump(order: &Order, file: &File) -> Result<(), String> {
    let halted = Halted::hold(&order.name, Some(&order.runtime_dir));
    let halted = halted.map_err(|error| format!("error[{}]: {error}", error.code()))?;
    let pc = halted.pc().map(|pc| pc.to_string());
    let mut facts = vec![("remote", &*order.name), ("on", "sandbox")];
    facts.extend(pc.as_deref().map(|pc| ("pc", pc)));
    let dump = halted.core_dump(Include::default(), &facts);
    let dump = dump.map_err(|error| format!("error[{}]: {error}", error.code()))?;
    write_plain(&dump, file).map_err(|error| format!("the dump cannot be written: {error}"))?;
    if !halted.is_held() {
        return Err("its warden went meanwhile: the memory may not be of one moment".to_owned());
    }
    Ok(())
}

/// A job, as whoever asks about it sees it.
pub(crate) struct Work {
    progress: Mutex<Progress>,
    /// Where the result goes; its length is how far it is.
    file: File,
}

struct Progress {
    state: State,
    what: String,
    /// Gives it up; nothing where that cannot be.
    cancel: Option<oneshot::Sender<()>>,
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Done,
    Failed,
    Cancelled,
}

impl State {
    /// As it is called on the bus.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Work {
    pub(crate) fn state(&self) -> State {
        self.progress().state
    }

    pub(crate) fn what(&self) -> String {
        self.progress().what.clone()
    }

    /// Bytes that are written, holes included.
    pub(crate) fn done(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.size())
    }

    pub(crate) fn cancel(&self) -> Result<(), Error> {
        let mut progress = self.progress();
        if progress.state != State::Running {
            return Err(Error::WrongState(format!("it is {} already", progress.state.word())));
        }
        let cancel = progress.cancel.take();
        let cancel = cancel.ok_or_else(|| Error::Unsupported("it cannot be given up".to_owned()))?;
        // It may end just now.
        let _ = cancel.send(());
        Ok(())
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Nothing in there is ever half done.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins to write a remote's memory to a file. Answers the job.
pub(crate) async fn dump(
    house: &House,
    remote: &Arc<Remote>,
    file: OwnedFd,
) -> Result<OwnedObjectPath, Error> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let failed = |error: std::io::Error| Error::Failed(error.to_string());
    let kept = File::from(file.try_clone().map_err(failed)?);
    if !kept.metadata().map_err(failed)?.is_file() {
        return Err(Error::BadOption("a dump goes to a file, and that is none".to_owned()));
    }
    if !rustix::fs::fcntl_getfl(&kept).is_ok_and(|flags| flags.intersects(WRITABLE)) {
        return Err(Error::BadOption("the file is not open for writing".to_owned()));
    }
    let place = RUNNING.try_acquire().map_err(|_| {
        Error::NoRoom(format!("{MOST} jobs are running, and may not be more: wait for one, or give it up"))
    })?;
    let (cancel, cancelled) = oneshot::channel();
    let is_sandbox = remote.load().on == "sandbox";
    let what = format!("dumps {}", remote.name());
    let progress = Progress { state: State::Running, what, cancel: is_sandbox.then_some(cancel) };
    let work = Arc::new(Work { progress: Mutex::new(progress), file: kept });
    let path = OwnedObjectPath::try_from(format!("{ROOT}/jobs/{number}")).expect("a number is behind a path");
    house.connection().object_server().at(&path, Job::new(Arc::clone(&work), house.clone())).await?;
    let (house, remote, object) = (house.clone(), Arc::clone(remote), path.clone());
    tokio::spawn(async move {
        let ended = match is_sandbox {
            true => in_process(&remote, &file, cancelled).await,
            false => {
                let asked = remote.ask(Ask::Dump, Some(&file)).await;
                asked.map(|_| State::Done).map_err(|refusal| refusal.why)
            }
        };
        drop(place);
        finish(&house, &remote, &work, &object, ended).await;
        tokio::time::sleep(KEPT).await;
        let _ = house.connection().object_server().remove::<Job, _>(&object).await;
    });
    Ok(path)
}

const WRITABLE: rustix::fs::OFlags = rustix::fs::OFlags::WRONLY.union(rustix::fs::OFlags::RDWR);

/// Has a process do it.
async fn in_process(
    remote: &Remote,
    file: &OwnedFd,
    cancelled: oneshot::Receiver<()>,
) -> Result<State, String> {
    let refused = |refused: sidecore_os::Refused| refused.to_string();
    let load = remote.load();
    let order = Order { name: load.name.clone(), runtime_dir: load.runtime_dir.clone() };
    let order = postcard::to_stdvec(&order).map_err(|error| error.to_string())?;
    let (ours, theirs) = Channel::pair().map_err(refused)?;
    // Killed when this ends, whatever it is doing: the remote runs on by itself then.
    let _child = Child::spawn(Path::new("/proc/self/exe"), NAME, &[], theirs.into()).map_err(refused)?;
    ours.send(&order, &[file.as_fd()]).map_err(|errno| errno.to_string())?;
    let readable = crate::link::Readable::new(&ours).map_err(|error| error.to_string())?;
    let mut bytes = [0; 4096];
    tokio::select! {
        received = readable.receive(&ours, &mut bytes) => match received {
            Ok(Some(received)) => {
                let ended: Result<Result<(), String>, _> = postcard::from_bytes(&bytes[..received.len]);
                ended.map_err(|error| error.to_string())?.map(|()| State::Done)
            }
            _ => Err("the process that did it is gone".to_owned()),
        },
        Ok(()) = cancelled => Ok(State::Cancelled),
    }
}

async fn finish(
    house: &House,
    remote: &Remote,
    work: &Work,
    path: &OwnedObjectPath,
    ended: Result<State, String>,
) {
    let (state, what) = match ended {
        Ok(state) => (state, format!("dump of {}: {}", remote.name(), state.word())),
        Err(why) => (State::Failed, format!("dump of {}: {why}", remote.name())),
    };
    {
        let mut progress = work.progress();
        (progress.state, progress.what) = (state, what.clone());
    }
    if let Ok(object) = house.connection().object_server().interface::<_, Job>(path).await {
        let job = object.get().await;
        let _ = job.what_changed(object.signal_emitter()).await;
        let _ = job.state_changed(object.signal_emitter()).await;
    }
    house.tell(remote.name(), "job", &what, Details::new()).await;
}

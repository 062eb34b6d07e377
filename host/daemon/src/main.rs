//! `sidecored`: remotes for all programs of a machine, over D-Bus.

mod adopt;
mod authority;
mod interface;
mod job;
mod keeper;
mod link;
mod man;
mod notify;
mod place;
mod registry;
mod remote;
mod serve;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, Parser};
use futures_util::StreamExt as _;
use tokio::signal::unix::{SignalKind, signal};
use zbus::Connection;
use zbus::fdo::RequestNameFlags;

use crate::authority::Authority;
use crate::interface::manager::{Manager, Settings};
use crate::registry::Registry;
use crate::serve::House;

/// Remotes for all programs of a machine, over D-Bus
#[derive(Debug, Parser)]
#[command(version, name = "sidecored")]
struct Args {
    /// Serve one user, on the bus of the session, in place of the machine
    #[arg(long)]
    session: bool,
    /// Print the manual page
    #[arg(long, hide = true)]
    man: bool,
    /// End all remotes when the daemon ends, in place of leaving them to the next one
    #[arg(long)]
    transient: bool,
}

fn main() -> Result<()> {
    // This executable is also every warden, every sandboxed remote, every keeper and every job.
    sidecore_backends::sandbox::hook();
    keeper::hook();
    job::hook();
    let args = Args::parse();
    if args.man {
        return Ok(man::print(Args::command())?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(&args))
}

/// Where `sidecore` looks for sandboxes, too.
fn runtime_dir(is_session: bool) -> Result<PathBuf> {
    if !is_session {
        return Ok(PathBuf::from("/run/sidecore"));
    }
    let dir =
        std::env::var_os("XDG_RUNTIME_DIR").context("a session has an XDG_RUNTIME_DIR, and this one none")?;
    Ok(PathBuf::from(dir).join("sidecore"))
}

/// Where `sidecore logs` looks, too.
fn logs(is_session: bool) -> Option<PathBuf> {
    if !is_session {
        return Some(PathBuf::from("/var/lib/sidecore/logs"));
    }
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || absolute("HOME").map(|home| home.join(".local/state"));
    Some(absolute("XDG_STATE_HOME").or_else(home)?.join("sidecore/logs"))
}

/// How long a bus that went away may take to come back.
const BUS_BACK: Duration = Duration::from_secs(60);

async fn serve(args: &Args) -> Result<()> {
    let settings = Settings {
        runtime_dir: runtime_dir(args.session)?,
        logs: logs(args.session),
        outlives: !args.transient,
        most: 256,
        max_firmware: 256 << 20,
    };
    let _lock = place::lock(&settings.runtime_dir).context("there can be one daemon at a time")?;
    let [mut term, mut int] = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let mut inherited = notify::inherited();
    let mut connection = connect(args.session).await?;
    let told_to_end = async {
        tokio::select! {
            () = notify::keep_alive() => {}
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        notify::stopping();
    };
    tokio::pin!(told_to_end);
    loop {
        tokio::select! {
            ended = on_bus(&connection, args.session, &settings, std::mem::take(&mut inherited)) => ended?,
            () = &mut told_to_end => return Ok(()),
        }
        // Keepers and their clients go on; who was tied to a client of that bus ends.
        eprintln!("sidecored: the bus is gone; looking for it");
        let again = async {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if let Ok(connection) = connect(args.session).await {
                    return connection;
                }
            }
        };
        connection = tokio::select! {
            again = tokio::time::timeout(BUS_BACK, again) => again.context("the bus did not come back")?,
            () = &mut told_to_end => return Ok(()),
        };
    }
}

async fn connect(is_session: bool) -> Result<Connection> {
    let builder =
        if is_session { zbus::connection::Builder::session() } else { zbus::connection::Builder::system() };
    builder.build().await.context("there is no bus")
}

/// Serves until the bus goes.
async fn on_bus(
    connection: &Connection,
    is_session: bool,
    settings: &Settings,
    inherited: Vec<(String, std::os::fd::OwnedFd)>,
) -> Result<()> {
    let authority = if is_session { Authority::session() } else { Authority::system(connection) };
    let house = House {
        connection: connection.clone(),
        authority: Arc::new(authority),
        registry: Arc::new(Registry::default()),
    };
    let server = connection.object_server();
    server.at(sidecore_dbus::ROOT, zbus::fdo::ObjectManager).await?;
    server.at(sidecore_dbus::ROOT, Manager::new(house.clone(), settings.clone())).await?;
    let mut changes = zbus::fdo::DBusProxy::new(connection).await?.receive_name_owner_changed().await?;
    adopt::adopt(&house, settings, inherited).await;
    connection
        .request_name_with_flags(sidecore_dbus::NAME, RequestNameFlags::DO_NOT_QUEUE)
        .await
        .with_context(|| format!("cannot be {} on the bus", sidecore_dbus::NAME))?;
    notify::ready(&format!("{} on the bus", sidecore_dbus::NAME));
    while let Some(change) = changes.next().await {
        if let Ok(arguments) = change.args()
            && arguments.new_owner().is_none()
        {
            house.registry.client_left(arguments.name());
        }
    }
    Ok(())
}

//! `sidecored`: remotes for all programs of a machine, over D-Bus.

mod authority;
mod interface;
mod keeper;
mod link;
mod man;
mod notify;
mod registry;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, Parser};
use futures_util::StreamExt as _;
use tokio::signal::unix::{SignalKind, signal};
use zbus::fdo::RequestNameFlags;

use crate::authority::Authority;
use crate::interface::manager::Manager;
use crate::registry::Registry;

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
}

fn main() -> Result<()> {
    // This executable is also every warden, every sandboxed remote, and every keeper.
    sidecore_backends::sandbox::hook();
    keeper::hook();
    let args = Args::parse();
    if args.man {
        return Ok(man::print(Args::command())?);
    }
    // What an older daemon had kept, and nobody knows any more.
    notify::inherited().iter().for_each(|(name, _)| notify::remove(name));
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

async fn serve(args: &Args) -> Result<()> {
    let [mut term, mut int] = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let builder =
        if args.session { zbus::connection::Builder::session() } else { zbus::connection::Builder::system() };
    let registry = Arc::new(Registry::default());
    let connection = builder.build().await.context("cannot connect to the bus")?;
    let authority =
        Arc::new(if args.session { Authority::session() } else { Authority::system(&connection) });
    let manager = Manager::new(Arc::clone(&registry), authority, runtime_dir(args.session)?);
    let server = connection.object_server();
    server.at(sidecore_dbus::ROOT, zbus::fdo::ObjectManager).await?;
    server.at(sidecore_dbus::ROOT, manager).await?;
    connection
        .request_name_with_flags(sidecore_dbus::NAME, RequestNameFlags::DO_NOT_QUEUE)
        .await
        .with_context(|| format!("cannot be {} on the bus", sidecore_dbus::NAME))?;
    let mut changes = zbus::fdo::DBusProxy::new(&connection).await?.receive_name_owner_changed().await?;
    let leaving = async {
        while let Some(change) = changes.next().await {
            if let Ok(arguments) = change.args()
                && arguments.new_owner().is_none()
            {
                registry.client_left(arguments.name());
            }
        }
    };
    notify::ready(&format!("{} on the bus", sidecore_dbus::NAME));
    tokio::select! {
        () = notify::keep_alive() => {}
        () = leaving => anyhow::bail!("the bus is gone"),
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    notify::stopping();
    // Keepers end when their daemon does, and what is under way is answered by that.
    Ok(())
}

//! `sidecored`: remotes for all programs of a machine, over D-Bus.

mod interface;
mod keeper;
mod link;
mod registry;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Parser;
use futures_util::StreamExt as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::interface::manager::Manager;
use crate::registry::Registry;

/// Remotes for all programs of a machine, over D-Bus
#[derive(Debug, Parser)]
#[command(version, name = "sidecored")]
struct Args {
    /// Serve one user, on the bus of the session, in place of the machine
    #[arg(long)]
    session: bool,
}

fn main() -> Result<()> {
    // This executable is also every warden, every sandboxed remote, and every keeper.
    sidecore_backends::sandbox::hook();
    keeper::hook();
    let args = Args::parse();
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
    let connection = builder
        .serve_at(sidecore_dbus::ROOT, zbus::fdo::ObjectManager)
        .serve_at(sidecore_dbus::ROOT, Manager::new(Arc::clone(&registry), runtime_dir(args.session)?))
        .name(sidecore_dbus::NAME)
        .build()
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
    tokio::select! {
        () = leaving => anyhow::bail!("the bus is gone"),
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    // Keepers end when their daemon does, and what is under way is answered by that.
    Ok(())
}

//! `sidecored`: remotes for all programs of a machine, over D-Bus.

mod adopt;
mod authority;
mod interface;
mod job;
mod keeper;
mod link;
mod make;
mod man;
mod notify;
mod place;
mod registry;
mod remote;
mod serve;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, Parser};
use futures_util::StreamExt as _;
use sidecored::config::{Config, Places};
use sidecored::rules::Rules;
use tokio::signal::unix::{SignalKind, signal};
use zbus::Connection;
use zbus::fdo::RequestNameFlags;

use crate::authority::Authority;
use crate::interface::manager::{Manager, Settings};
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
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if !is_session {
        // As the service manager has it.
        let state = absolute("STATE_DIRECTORY").unwrap_or_else(|| PathBuf::from("/var/lib/sidecore"));
        return Some(state.join("logs"));
    }
    let home = || absolute("HOME").map(|home| home.join(".local/state"));
    Some(absolute("XDG_STATE_HOME").or_else(home)?.join("sidecore/logs"))
}

/// The directory if logs can be kept there. Without logs remotes run as well.
fn usable(logs: PathBuf) -> Option<PathBuf> {
    match sidecore_backends::log::directory(&logs) {
        Ok(_) => Some(logs),
        Err(error) => {
            eprintln!("sidecored: no logs of traces are kept: {}: {error}", logs.display());
            None
        }
    }
}

/// How long a bus that went away may take to come back.
const BUS_BACK: Duration = Duration::from_secs(60);

/// How often it is looked for.
const BUS_LOOK: Duration = Duration::from_millis(100);

async fn serve(args: &Args) -> Result<()> {
    let places = if args.session { Places::session() } else { Places::system() };
    let config = Config::load(&places).context("the configuration has no meaning")?;
    let logs = config.logs.directory.or_else(|| logs(args.session)).filter(|_| config.logs.keep);
    let settings = Settings {
        runtime_dir: runtime_dir(args.session)?,
        logs: logs.and_then(usable),
        outlives: !args.transient,
        limits: config.limits,
        defaults: config.defaults,
    };
    let _lock = place::lock(&settings.runtime_dir).context("there can be one daemon at a time")?;
    let [mut term, mut int] = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let told_to_end = async {
        tokio::select! {
            () = notify::keep_alive() => {}
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        notify::stopping();
    };
    let work = async {
        let (connection, authority) = connect(args.session).await?;
        let rules = Rules::new(config.rules);
        rules.start_units_on(connection.clone());
        let house = House::new(settings, rules, connection, authority);
        adopt::adopt(&house, notify::inherited()).await;
        house.make_configured(&config.remotes).await;
        loop {
            on_bus(&house).await?;
            // Keepers and their clients go on.
            eprintln!("sidecored: the bus is gone; looking for it");
            let back = tokio::time::timeout(BUS_BACK, connect_again(args.session)).await;
            let (connection, authority) = back.context("the bus did not come back")?;
            house.move_to(connection, authority);
            for remote in house.registry().all() {
                house.serve(&remote).await?;
            }
        }
    };
    tokio::select! {
        ended = work => ended,
        () = told_to_end => Ok(()),
    }
}

async fn connect(is_session: bool) -> Result<(Connection, Authority)> {
    let builder =
        if is_session { zbus::connection::Builder::session() } else { zbus::connection::Builder::system() };
    let connection = builder.build().await.context("there is no bus")?;
    let authority = if is_session { Authority::session() } else { Authority::system(&connection) };
    Ok((connection, authority))
}

async fn connect_again(is_session: bool) -> (Connection, Authority) {
    loop {
        tokio::time::sleep(BUS_LOOK).await;
        if let Ok(connected) = connect(is_session).await {
            return connected;
        }
    }
}

/// Serves until the bus goes.
async fn on_bus(house: &House) -> Result<()> {
    let connection = house.connection();
    let server = connection.object_server();
    server.at(sidecore_dbus::ROOT, zbus::fdo::ObjectManager).await?;
    server.at(sidecore_dbus::ROOT, Manager::new(house.clone())).await?;
    let mut changes = zbus::fdo::DBusProxy::new(&connection).await?.receive_name_owner_changed().await?;
    adopt::end_those_whose_client_left(house).await;
    connection
        .request_name_with_flags(sidecore_dbus::NAME, RequestNameFlags::DO_NOT_QUEUE)
        .await
        .with_context(|| format!("cannot be {} on the bus", sidecore_dbus::NAME))?;
    notify::ready(&format!("{} on the bus", sidecore_dbus::NAME));
    while let Some(change) = changes.next().await {
        if let Ok(arguments) = change.args()
            && arguments.new_owner().is_none()
        {
            house.registry().client_left(arguments.name());
        }
    }
    Ok(())
}

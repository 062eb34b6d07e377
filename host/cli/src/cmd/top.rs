//! `sidecore top`: remotes, their channels, how many messages pass, and what they say, as it changes.

mod model;
mod view;

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use self::model::Model;
use crate::codes;
use crate::failure::{Failure, Outcome};
use crate::interrupts::Interrupts;
use crate::output::{print, print_json};
use crate::raw::Raw;
use crate::remote;
use crate::target::Reach;

/// Watch all remotes: states, channels, message rates, and what they say
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Keys: arrows, or j and k, select a remote, whose channels, endpoints and last lines are shown below; q leaves.

Messages are counted by the daemon, for each endpoint that its clients have open. Without a daemon there are states, channels of \
what Linux drives, and what remotes say.")]
pub(crate) struct Args {
    /// Print one table and leave; so it is, too, where the output is no terminal
    #[arg(long)]
    once: bool,
    /// How often to look
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = remote::seconds)]
    interval: Duration,
    #[command(flatten)]
    reach: Reach,
    /// Print one look as JSON (schema sidecore.top/1)
    #[arg(long)]
    pub(crate) json: bool,
}

/// How long to wait for a key before a look is taken for signals.
const SLICE: Duration = Duration::from_millis(100);

/// Another screen, and no cursor; and back.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";
const LEAVE: &[u8] = b"\x1b[?25h\x1b[?1049l";

pub(crate) fn run(args: &Args) -> Outcome {
    let mut model = Model::new(&args.reach)?;
    if args.json {
        print_json("sidecore.top/1", &model.look()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.once || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        print(&view::table(model.look()?))?;
        return Ok(ExitCode::SUCCESS);
    }
    // Before the screen changes: an error is told on the one that stays.
    model.look()?;
    let interrupts = Interrupts::catch_by(|| (), true)?;
    let raw = Raw::new(io::stdin().as_fd(), ENTER, LEAVE).map_err(|error| cannot(&error))?;
    let left = watch(args, &mut model, &interrupts);
    drop(raw);
    left
}

fn watch(args: &Args, model: &mut Model, interrupts: &Interrupts) -> Outcome {
    let terminal = Terminal::new(CrosstermBackend::new(io::stdout().lock()));
    let mut terminal = terminal.map_err(Failure::output)?;
    let mut looked = Instant::now();
    let mut is_new = true;
    loop {
        if let Some(code) = interrupts.exit_code() {
            return Ok(code.into());
        }
        if looked.elapsed() >= args.interval {
            model.look()?;
            (looked, is_new) = (Instant::now(), true);
        }
        is_new |= model.listen();
        if is_new {
            terminal.draw(|frame| view::draw(frame, model)).map_err(Failure::output)?;
            terminal.backend_mut().flush().map_err(Failure::output)?;
            is_new = false;
        }
        let rest = args.interval.saturating_sub(looked.elapsed()).min(SLICE);
        if !event::poll(rest).map_err(|error| cannot(&error))? {
            continue;
        }
        match event::read().map_err(|error| cannot(&error))? {
            Event::Key(key) if key.kind != KeyEventKind::Release => match key {
                KeyEvent { code: KeyCode::Char('q') | KeyCode::Esc, .. } => return Ok(ExitCode::SUCCESS),
                KeyEvent { code: KeyCode::Char('c' | 'd'), modifiers, .. }
                    if modifiers.contains(KeyModifiers::CONTROL) =>
                {
                    return Ok(ExitCode::SUCCESS);
                }
                KeyEvent { code: KeyCode::Down | KeyCode::Char('j'), .. } => model.select(1),
                KeyEvent { code: KeyCode::Up | KeyCode::Char('k'), .. } => model.select(-1),
                KeyEvent { code: KeyCode::PageDown, .. } => model.select(10),
                KeyEvent { code: KeyCode::PageUp, .. } => model.select(-10),
                _ => continue,
            },
            Event::Resize(..) => {}
            _ => continue,
        }
        is_new = true;
    }
}

fn cannot(why: &dyn std::fmt::Display) -> Failure {
    Failure::new(codes::TERMINAL, "cannot draw on the terminal").because(why)
}
